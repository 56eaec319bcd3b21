"""Every way in which the address of a bucket is written, and what each becomes.

Enters: a bucket as site.yaml has it and where the new store is. Leaves: :class:`~toolkit.addresses.Form` rows.
``x-aws: {cloudfront: [d111.cloudfront.net]}`` beside a bucket names the distributions in front of it;
``x-public: https://media.agora.example`` is the address under which people shall find it from now on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from toolkit.addresses import Form
from toolkit.model import Resource
from toolkit.storage import names

_ARN = "arn:aws:s3:::"


def forms(resource: Resource, endpoint: str, hosts: Iterable[str], *, aws: bool) -> Iterator[Form]:
    """Yield the forms of one bucket. ``hosts``: host[:port] of the old store, where it is not AWS's own name."""
    old, new = names.source_name(resource), names.new_name(resource)
    region = str(resource.facts.get("region") or "us-east-1")
    public = urlsplit(str(resource.facts.get("x-public") or f"{endpoint}/{new}"))
    place, scheme = f"{public.netloc}{public.path.rstrip('/')}", public.scheme or "https"
    service, plain = urlsplit(endpoint).netloc, urlsplit(endpoint).scheme

    def form(kind: str, text: str) -> Form:
        return Form(resource.address, kind, text, place, scheme)

    served: list[str] = list(hosts)
    if aws:
        for host in names.aws_hosts(old, region):
            yield form("website" if ".s3-website" in host else "host", host)
        yield form("host", f"{old}.s3-accelerate.amazonaws.com")
        yield form("host", f"{old}.s3-accelerate.dualstack.amazonaws.com")
        served += names.aws_service_hosts(region)
    for host in served:
        yield form("path", f"{host}/{old}")
        if not aws or host in hosts:
            yield form("host", f"{old}.{host}")
        yield Form(resource.address, "service", host, service, plain)
    for name in (resource.facts.get("x-aws") or {}).get("cloudfront") or ():
        yield form("cdn", str(name))
    yield Form(resource.address, "uri", f"s3://{old}", f"s3://{new}")
    yield Form(resource.address, "uri", f"{_ARN}{old}", f"{_ARN}{new}")
