"""Prove: does the new side live alone? Seven checks, after the old side is cut off or ready to be.

1 calls        nothing called the old provider after the cut-off
2 resolution   no name's whole resolution chain touches the old provider
3 delegation   NS and DS at the parent, and the registrar, are not the old provider's
4 certificates no TLS certificate was issued by the old provider
5 endpoints    no old endpoint stands in env files, dumps or text objects
6 journeys     the app works: recorded journeys pass, with no route to the old side
7 contents     every row and object is there, every account logs in, every recorded page is the same

Enters: a :class:`Subject`. Leaves: a :class:`Proof`. One failed check makes the site **dependent**; a
check that could not be made, or a site without journeys, leaves it **unproven**: never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from toolkit.errors import RehostError
from toolkit.families import Family, OldSide
from toolkit.journeys import Fetch, JourneyResult, Reveal, Swept, logins, pages, replay, sweep
from toolkit.model import Finding, Json, State, Tally
from toolkit.plan import of_family
from toolkit.secrets import resolve
from toolkit.verify import Verified

Status = Literal["passed", "failed", "unproven"]
NAMES = ("calls", "resolution", "delegation", "certificates", "endpoints", "journeys", "contents")
_DELEGATION = frozenset({"delegation", "ds", "registrar"})


@dataclass(frozen=True, slots=True)
class Check:
    """One of the seven checks."""

    name: str
    status: Status
    text: str
    findings: tuple[Finding, ...] = ()
    evidence: Mapping[str, Json] = field(default_factory=dict)

    def to_json(self) -> dict[str, Json]:
        return {
            "number": NAMES.index(self.name) + 1,
            "name": self.name,
            "status": self.status,
            "text": self.text,
            "findings": [finding.to_json() for finding in self.findings],
            "evidence": dict(self.evidence),
        }


@dataclass(frozen=True, slots=True)
class Proof:
    """The outcome of all seven checks."""

    checks: tuple[Check, ...]
    journeys: tuple[JourneyResult, ...]

    @property
    def verdict(self) -> Literal["independent", "dependent", "unproven"]:
        states = {check.status for check in self.checks}
        if "failed" in states:
            return "dependent"
        return "unproven" if "unproven" in states else "independent"

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for check in self.checks for finding in check.findings)

    def to_json(self) -> dict[str, Json]:
        return {
            "verdict": self.verdict,
            "checks": [check.to_json() for check in self.checks],
            "journeys": [journey.to_json() for journey in self.journeys],
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """Everything the seven checks look at.

    ``calls`` are the calls the old provider saw after the cut-off, ``None`` when nobody can tell.
    ``isolation`` says what kept the journeys away from the old side (empty: nothing did).
    """

    desired: State
    families: Mapping[str, Family]
    old: OldSide
    fetch: Fetch
    verified: Verified
    journeys: Sequence[Mapping[str, Json]] = ()
    baseline: Mapping[str, Json] = field(default_factory=dict)
    login: Mapping[str, Json] | None = None
    accounts: Sequence[Mapping[str, str]] = ()
    recorded: Sequence[Mapping[str, Json]] = ()
    calls: Sequence[Mapping[str, Json]] | None = None
    isolation: str = ""
    tls: Sequence[str] = ()
    secret: Reveal = resolve


def prove(subject: Subject) -> Proof:
    """Make the seven checks."""
    hanging = [
        item
        for name, family in subject.families.items()
        for item in family.dependence(of_family(subject.desired, name), subject.old)
    ]
    found = [item for item in hanging if isinstance(item, Finding)]
    scanned = sum(item.total for item in hanging if isinstance(item, Tally))
    names = [finding for finding in found if finding.address.startswith("dns/")]
    results = replay(subject.journeys, subject.fetch, subject.baseline, secret=subject.secret)
    checks = (
        _calls(subject.calls),
        _of("resolution", [f for f in names if f.feature not in _DELEGATION], "names resolve without the old side"),
        _of(
            "delegation", [f for f in names if f.feature in _DELEGATION], "NS, DS and registrar are not the old side's"
        ),
        _certificates(subject),
        _of(
            "endpoints",
            [finding for finding in found if not finding.address.startswith("dns/")],
            f"no old endpoint in {scanned} definitions, dumps and text objects",
        ),
        _journeys(subject, results),
        _contents(subject),
    )
    return Proof(checks, results)


def _of(name: str, findings: Iterable[Finding], good: str) -> Check:
    findings = tuple(findings)
    errors = [finding for finding in findings if finding.severity == "error"]
    unproven = [finding for finding in findings if finding.verdict == "unproven"]
    if errors:
        return Check(name, "failed", f"{len(errors)} found: {errors[0].text}", findings)
    if unproven:
        return Check(name, "unproven", unproven[0].text, findings)
    return Check(name, "passed", good, findings)


def _calls(calls: Sequence[Mapping[str, Json]] | None) -> Check:
    if calls is None:
        return Check(
            "calls", "unproven", "nobody can tell whether the old provider was called: give its call log with --calls"
        )
    if not calls:
        return Check("calls", "passed", "0 calls to the old provider after the cut-off", evidence={"calls": 0})
    shown = [str(call.get("operation") or call.get("path")) for call in calls[:20]]
    finding = Finding(
        "site/old-provider",
        "calls",
        "dependent",
        f"{len(calls)} calls reached the old provider after the cut-off: {', '.join(shown[:5])}",
        "find the caller in the log and repoint it",
        evidence={"operations": shown, "calls": len(calls)},
    )
    return Check("calls", "failed", finding.text, (finding,), {"calls": len(calls)})


def _certificates(subject: Subject) -> Check:
    urls = {
        f"https://{parts.netloc}/"
        for journey in subject.journeys
        for step in journey.get("steps", ())
        if (parts := urlsplit(str(step["url"]))).scheme == "https"
    } | {f"https://{name}/" for name in subject.tls}
    findings: list[Finding] = []
    for url in sorted(urls):
        try:
            issuer = str(getattr(subject.fetch("GET", url, {}, None), "issuer", "") or "")
        except RehostError as exc:
            findings.append(_tls(url, "unreachable", exc.text, exc.remedy))
            continue
        if not issuer:
            findings.append(
                _tls(url, "unproven", f"nobody can tell who issued the certificate of {url}", "", "warning")
            )
        elif any(word.lower() in issuer.lower() for word in subject.old.issuers):
            text = f"the certificate of {url} was issued by {issuer}"
            findings.append(
                _tls(url, "dependent", text, "get one from an authority that does not depend on the old side")
            )
    good = f"{len(urls)} TLS endpoints, none issued by the old side" if urls else "the site declares no TLS endpoint"
    return _of("certificates", findings, good)


def _tls(url: str, verdict: str, text: str, remedy: str, severity: Literal["error", "warning"] = "error") -> Finding:
    return Finding(f"site/tls/{urlsplit(url).netloc}", "issuer", verdict, text, remedy, severity)


def _journeys(subject: Subject, results: Sequence[JourneyResult]) -> Check:
    if not results:
        return Check("journeys", "unproven", "the site has no journeys: nothing shows that the app works")
    findings = [
        Finding(
            f"site/journey/{result.name}",
            "journey",
            "different",
            f"journey {result.name}: {result.steps[-1].method} {result.steps[-1].url}: {result.steps[-1].why}"
            if result.steps
            else f"journey {result.name} has no steps",
            "open the address by hand; compare with the baseline in the run folder",
        )
        for result in results
        if not result.passed
    ]
    check = _of("journeys", findings, f"{len(results)} journeys passed; kept from the old side by {subject.isolation}")
    unrecorded = [result.name for result in results if result.name not in subject.baseline]
    if check.status == "passed" and unrecorded:
        text = f"never recorded at the source: {', '.join(unrecorded[:5])}"
        return Check("journeys", "unproven", text, check.findings)
    if check.status == "passed" and not subject.isolation:
        return Check(
            "journeys", "unproven", "the journeys passed, but with a route to the old side open", check.findings
        )
    return check


def _contents(subject: Subject) -> Check:
    findings = list(subject.verified.findings)
    evidence: dict[str, Json] = {"totals": subject.verified.totals()}
    entered = ""
    if subject.login is not None:
        swept = sweep(logins(subject.login, subject.accounts, subject.fetch))
        evidence["logins"] = {"total": swept.total, "passed": swept.passed}
        findings += _swept("login", swept, "accounts cannot log in")
        entered = f"; {swept.passed} of {swept.total} accounts log in"
    swept = sweep(pages(subject.recorded, subject.fetch))
    evidence["pages"] = {"total": swept.total, "passed": swept.passed}
    findings += _swept("page", swept, "pages and objects are not served as before")
    totals = subject.verified.totals()
    counted = ", ".join(f"{row['verified']} {row['unit']}" for row in totals.values())
    if lost := {name: row["lost"] for name, row in totals.items() if row["lost"]}:
        findings.append(
            Finding("site/contents", "lost", "missing", f"lost: {lost}", "run `rehost apply`, then `rehost verify`")
        )
    check = _of("contents", findings, f"{counted}{entered}; {evidence['pages']['total']} pages the same")
    # A site with journeys is an app that people use: without a login nothing shows that they still can.
    lack = "no account was given to log in with" if subject.login is not None else "the site names no `logins:`"
    if check.status == "passed" and subject.journeys and not (subject.login is not None and subject.accounts):
        return Check("contents", "unproven", f"{lack}: nothing shows that people can log in", check.findings, evidence)
    return Check(check.name, check.status, check.text, check.findings, evidence)


def _swept(kind: str, swept: Swept, text: str) -> list[Finding]:
    if swept.passed == swept.total:
        return []
    shown = [f"{what}: {why}" for what, why in swept.failures[:20]]
    return [
        Finding(
            f"site/{kind}",
            kind,
            "different",
            f"{swept.total - swept.passed} of {swept.total} {text}; first: {shown[0]}",
            "compare one of them by hand at both sides",
            evidence={"failures": shown, "total": swept.total, "passed": swept.passed},
        )
    ]
