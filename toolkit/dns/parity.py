"""Is a zone served as it is meant to be? Every record set at every name server, over UDP and TCP.

Enters: the wanted zone and the name servers' addresses. Leaves: what differs, per record set. Compares
data as it is on the wire, TTLs, the AA flag and the response code; a delegation in the authority
section, glue in the additional section; negative answers; serials of all servers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

from toolkit.dns import names, rdata
from toolkit.dns.ask import ask_all
from toolkit.dns.model import RRSet
from toolkit.errors import Unreachable
from toolkit.wire import query

Server = tuple[str, str]  # name, ip:port


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing a server says otherwise. ``kind``: missing, different, unreachable."""

    key: str
    server: str
    transport: str
    kind: str
    text: str


def differences(zone: str, rrsets: Mapping[str, RRSet], servers: Sequence[Server]) -> Iterator[Difference]:
    """Compare every set at every server over both transports."""
    keys = list(rrsets)
    cuts = cuts_in(zone, rrsets.values())
    questions = [(rrsets[key].name, rrsets[key].type) for key in keys]
    jobs = [(server, tcp) for server in servers for tcp in (False, True)]

    def one(job: tuple[Server, bool]) -> list[Difference]:
        (label, address), tcp = job
        transport = "TCP" if tcp else "UDP"
        found: list[Difference] = []
        for key, answer in zip(keys, ask_all(address, questions, tcp=tcp), strict=True):
            problem = judge(rrsets[key], answer, cut_of(rrsets[key], cuts), tcp=tcp)
            if problem is not None:
                found.append(Difference(key, label, transport, *problem))
        return found

    if not questions or not jobs:
        return
    with ThreadPoolExecutor(min(4, len(jobs))) as pool:
        for result in pool.map(one, jobs):
            yield from result


def judge(
    rrset: RRSet, answer: dns.message.Message | None, cut: str | None, *, tcp: bool = True
) -> tuple[str, str] | None:
    """Say what is wrong with one answer: kind and text, or nothing."""
    if answer is None:
        return "unreachable", "no answer"
    if answer.flags & dns.flags.TC:
        return ("different", "truncated over TCP") if tcp else None
    if answer.rcode() != dns.rcode.NOERROR:
        return "missing", f"the answer is {dns.rcode.to_text(answer.rcode())}"
    if cut is not None:
        return _judge_below(rrset, answer, cut)
    if not answer.flags & dns.flags.AA:
        return "different", "the answer is not authoritative"
    return _judge_section(rrset, answer.answer, "no such record set")


def _judge_below(rrset: RRSet, answer: dns.message.Message, cut: str) -> tuple[str, str] | None:
    """A set at or below a delegation: NS in the authority section, glue in the additional one."""
    if rrset.type == "NS" and rrset.name == cut:
        return _judge_section(rrset, [*answer.authority, *answer.answer], "no delegation")
    if rrset.type == "DS" and rrset.name == cut:
        return _judge_section(rrset, [*answer.answer, *answer.authority], "no such record set")
    glue = [found for found in answer.additional if found.name == names.parse(rrset.name)]
    # Data below a cut that is not glue is occluded: no server serves it, so nothing can be compared.
    if glue and any(found.rdtype == dns.rdatatype.from_text(rrset.type) for found in glue):
        return _judge_section(rrset, glue, "no glue")
    return None


def _judge_section(rrset: RRSet, section: Iterable[dns.rrset.RRset], missing: str) -> tuple[str, str] | None:
    name, kind = names.parse(rrset.name), dns.rdatatype.from_text(rrset.type)
    found = next((item for item in section if item.name == name and item.rdtype == kind), None)
    if found is None:
        return "missing", missing
    if set(found) != {rdata.parse(rrset.type, value) for value in rrset.values}:
        got = ", ".join(sorted(record.to_text() for record in found))[:200]
        return "different", f"{got} instead of {', '.join(rrset.values)[:200]}"
    if found.ttl != rrset.ttl:
        return "different", f"TTL {found.ttl} instead of {rrset.ttl}"
    return None


def cuts_in(zone: str, rrsets: Iterable[RRSet]) -> set[str]:
    """Return the names at which the zone delegates."""
    apex = names.canonical(zone)
    return {rrset.name for rrset in rrsets if rrset.type == "NS" and rrset.name != apex}


def cut_of(rrset: RRSet, cuts: set[str]) -> str | None:
    """Return the delegation at or above a set, if there is one."""
    return cut_of_name(rrset.name, cuts)


def cut_of_name(text: str, cuts: set[str]) -> str | None:
    """Return the delegation at or above a name, if there is one."""
    if not cuts:
        return None
    name: dns.name.Name = names.parse(text)
    while name != dns.name.root:
        if (found := name.to_text()) in cuts:
            return found
        name = name.parent()
    return None


def negative(zone: str, servers: Sequence[Server], *, wildcard: bool) -> Iterator[Difference]:
    """Ask for a name that cannot exist; every server must deny it with authority and an SOA."""
    name = f"rehost-{secrets.token_hex(6)}.{names.canonical(zone)}"
    if wildcard:
        return
    for label, address in servers:
        for tcp in (False, True):
            transport = "TCP" if tcp else "UDP"
            (answer,) = ask_all(address, [(name, "A")], tcp=tcp)
            if answer is None:
                yield Difference("@", label, transport, "unreachable", "no answer")
            elif answer.rcode() != dns.rcode.NXDOMAIN or not answer.flags & dns.flags.AA:
                text = f"a name that does not exist is answered {dns.rcode.to_text(answer.rcode())}"
                yield Difference("@", label, transport, "different", text)
            elif not any(item.rdtype == dns.rdatatype.SOA for item in answer.authority):
                yield Difference("@", label, transport, "different", "a negative answer lacks the SOA")


def serials(zone: str, servers: Sequence[Server]) -> dict[str, int | None]:
    """Return the SOA serial each server serves with authority; ``None`` when it does not."""
    found: dict[str, int | None] = {}
    for label, address in servers:
        found[label] = None
        try:
            answer = query(address, names.canonical(zone), "SOA")
        except Unreachable:
            continue
        if answer.flags & dns.flags.AA and answer.answer:
            found[label] = int(answer.answer[0][0].serial)
    return found


def wait_for_serials(zone: str, servers: Sequence[Server], timeout: float = 30.0) -> bool:
    """Wait until all servers serve one serial; say whether they do."""
    end = time.monotonic() + timeout
    while True:
        found = set(serials(zone, servers).values())
        if len(found) == 1 and None not in found:
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
