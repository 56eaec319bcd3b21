"""Doctor: can I start? Looks at the machine, the run folder and both sides; changes nothing.

Enters: the site, the run, the families. Leaves: findings, each with a remedy. What fails is a finding,
never an exception. That the source credentials cannot write is shown with requests that cannot
succeed whatever the answer (``Family.try_write``).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from toolkit.errors import AuthError, RehostError, Unreachable
from toolkit.families import Family
from toolkit.journal import Journal
from toolkit.model import Finding, Side
from toolkit.runs import Run

MIN_FREE = 1 << 30  # bytes in the run folder: manifests are 25 bytes an object, dumps and user-data are payload

#: The least an AWS user needs for discover and apply (facts and source: docs/guides/plan-an-exit.md).
POLICY = """{"Version":"2012-10-17","Statement":[
{"Sid":"Discover","Effect":"Allow","Action":["s3:ListAllMyBuckets","sts:GetCallerIdentity"],"Resource":"*"},
{"Sid":"BucketRead","Effect":"Allow","Action":["s3:GetBucketLocation","s3:ListBucket","s3:ListBucketVersions",
 "s3:ListBucketMultipartUploads","s3:GetBucketVersioning","s3:GetBucketAcl","s3:GetBucketPolicy","s3:GetBucketPolicyStatus",
 "s3:GetBucketCORS","s3:GetBucketTagging","s3:GetBucketWebsite","s3:GetBucketLogging","s3:GetBucketNotification",
 "s3:GetBucketOwnershipControls","s3:GetBucketPublicAccessBlock","s3:GetBucketObjectLockConfiguration",
 "s3:GetEncryptionConfiguration","s3:GetLifecycleConfiguration","s3:GetReplicationConfiguration"],
 "Resource":["arn:aws:s3:::*"]},
{"Sid":"ObjectRead","Effect":"Allow","Action":["s3:GetObject","s3:GetObjectVersion","s3:GetObjectAttributes",
 "s3:GetObjectVersionAttributes","s3:GetObjectTagging","s3:GetObjectVersionTagging","s3:GetObjectAcl",
 "s3:GetObjectVersionAcl","s3:GetObjectRetention","s3:GetObjectLegalHold"],"Resource":["arn:aws:s3:::*/*"]},
{"Sid":"Zones","Effect":"Allow","Action":["route53:ListHostedZones","route53:GetHostedZone",
 "route53:ListResourceRecordSets","route53:GetDNSSEC","route53:ListTagsForResource","route53:ListHealthChecks"],
 "Resource":"*"},
{"Sid":"Compute","Effect":"Allow","Action":["ec2:DescribeInstances","ec2:DescribeInstanceTypes",
 "ec2:DescribeInstanceAttribute","ec2:DescribeImages","ec2:DescribeVolumes","ec2:DescribeSecurityGroups",
 "ec2:DescribeSecurityGroupRules","ec2:DescribeNetworkInterfaces","ec2:DescribeAddresses","ec2:DescribeSubnets",
 "ec2:DescribeVpcs","ec2:DescribeKeyPairs","ec2:DescribeTags","elasticloadbalancing:Describe*"],"Resource":"*"},
{"Sid":"NeverWrite","Effect":"Deny","Action":["s3:Put*","s3:Delete*","s3:Create*","s3:BypassGovernanceRetention",
 "route53:Change*","route53:Delete*","ec2:Terminate*","ec2:Stop*","ec2:Delete*","iam:Add*","iam:Attach*",
 "iam:Create*","iam:Delete*","iam:Detach*","iam:PassRole","iam:Put*","iam:Remove*","iam:Set*","iam:Update*"],
 "Resource":"*"},
{"Sid":"Identities","Effect":"Allow","Action":["iam:GetAccountAuthorizationDetails","iam:ListAccessKeys",
 "iam:GetLoginProfile"],"Resource":"*"},
{"Sid":"TlsOnly","Effect":"Deny","Action":"s3:*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}]}"""


class Site(Protocol):
    """What doctor needs to know of a site definition."""

    @property
    def journeys(self) -> Iterable[object]: ...


def examine(site: Site, run: Run, families: Mapping[str, Family]) -> Iterator[Finding]:
    """Yield one finding a check: ``info`` when it is well, ``error`` or ``warning`` when it is not."""
    yield _python()
    yield _space(run)
    yield _guarded("doctor/journal", "the journal can be written", lambda: Journal(run.journal).close())
    yield _journeys(site)
    for name, family in families.items():
        for side in ("source", "target"):
            yield _side(name, family, side)
        yield from _powers(name, family)


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return _well("doctor/python", f"Python {version}")


def _space(run: Run) -> Finding:
    free = shutil.disk_usage(run.path).free
    if free < MIN_FREE:
        return _ill(
            "doctor/space", f"only {free >> 20} MiB are free under {run.path}", "choose a larger disk with --run"
        )
    return _well("doctor/space", f"{free >> 30} GiB are free under {run.path}")


def _journeys(site: Site) -> Finding:
    if not list(site.journeys):
        return _ill(
            "doctor/journeys",
            "the site has no journeys: prove can never say independent",
            "add a few requests that show the app works under `journeys:` in site.yaml",
            warning=True,
        )
    return _well("doctor/journeys", f"{len(list(site.journeys))} journeys")


def _side(name: str, family: Family, side: Side) -> Finding:
    def look() -> None:
        family.probe(side)
        next(iter(family.read(side, None)), None)  # a probe may rest on a table; reading asks the provider

    return _guarded(f"doctor/{name}/{side}", f"{name}: the {side} answers", look)


def _powers(name: str, family: Family) -> Iterator[Finding]:
    try:
        yield from family.try_write()
    except (AuthError, Unreachable) as exc:
        yield _ill(f"doctor/{name}/source", exc.text, exc.remedy)
    except RehostError as exc:
        yield _ill(f"doctor/{name}/powers", exc.text, exc.remedy, warning=True)


def _guarded(address: str, good: str, check: Callable[[], object]) -> Finding:
    try:
        check()
    except RehostError as exc:
        return _ill(address, exc.text, exc.remedy)
    return _well(address, good)


def _well(address: str, text: str) -> Finding:
    return Finding(address, "check", "note", text, severity="info")


def _ill(address: str, text: str, remedy: str, *, warning: bool = False) -> Finding:
    return Finding(address, "check", "refused", text, remedy, "warning" if warning else "error")
