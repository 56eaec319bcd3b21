"""The table of provider kinds: which families each serves and how its traces are recognised.

Add a provider: one row here, one driver file in the family, one line in ``wiring``, one fixture
class in the family's contract suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a provider kind before anybody talks to it.

    ``suffixes`` are host-name endings under which the provider serves customers; ``issuers`` are
    words in the organisation of the certificates it issues. Both are used by ``prove``.
    """

    families: tuple[str, ...]
    suffixes: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()


KINDS: Mapping[str, Kind] = {
    "aws": Kind(
        ("storage", "dns", "compute"),
        (
            "amazonaws.com",
            "amazonaws.com.cn",
            "cloudfront.net",
            "awsglobalaccelerator.com",
            "elasticbeanstalk.com",
            "acm-validations.aws",
            "aws.dev",
            "awsapps.com",
            "amazonses.com",
            *(f"awsdns-{n:02d}.{tld}" for n in range(64) for tld in ("com", "net", "org", "co.uk")),
        ),
        ("Amazon",),
    ),
    "s3": Kind(("storage",)),
    "ceph": Kind(("storage",)),
    "powerdns": Kind(("dns",)),
    "libvirt": Kind(("compute",)),
    "embedded": Kind(("compute",)),
    "libcloud": Kind(("storage", "dns", "compute")),
}
