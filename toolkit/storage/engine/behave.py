"""Do both ends answer alike? The same requests to source and target, and their answers side by side.

Anonymous GET, a presigned URL, HEAD, Range (within, from the end, beyond), conditional GET (ETag, time,
both ways), CORS preflight and simple request, for objects that anybody may read and for such that nobody
may. Compared are the status, the headers that browsers and caches act on, and the bytes; never dates,
request ids or wording.

Enters: a job and pairs of equal objects. Leaves: findings ``<key>:<question>``. Requests only read; a
presigned URL is made in memory and never shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit
from xml.etree import ElementTree

from toolkit.model import Finding, Json
from toolkit.storage.engine import headers as kept
from toolkit.storage.engine.connection import Headers, head_of
from toolkit.storage.engine.faults import TRANSPORT, Fault, as_error, from_answer, from_exception
from toolkit.storage.engine.gate import Gate
from toolkit.storage.engine.http import Store, persist, session
from toolkit.storage.engine.pool import Pool
from toolkit.storage.engine.report import name
from toolkit.storage.engine.work import Job
from toolkit.storage.model import DataPlane, Entry, Knobs, shown
from toolkit.storage.sign import path_of

#: How many equal objects are looked at for public and private ones, and how many of each are questioned.
CANDIDATES = 60
_EACH = 3
_MOST_BYTES = 64 * 1024
_FOREIGN = "https://elsewhere.invalid"
_CORS = ("access-control-max-age", "access-control-expose-headers", "access-control-allow-credentials")
_EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Question:
    """One request. ``by``: as nobody, with our signature, or by a presigned URL."""

    what: str
    method: str = "GET"
    by: str = "signed"
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What of an answer must be alike."""

    status: int
    headers: Mapping[str, str]
    body: str = ""

    def to_json(self) -> Json:
        return {"status": self.status, "headers": dict(self.headers), "body": self.body}


class End:
    """One side: how its objects are addressed, and its HTTP session."""

    def __init__(self, plane: DataPlane, bucket: str, pool: Pool, knobs: Knobs) -> None:
        self.store = Store(plane, bucket, pool, Gate(8, 8), knobs)
        self._plane = plane
        self._pool = pool
        parts = urlsplit(plane.endpoint)
        virtual = plane.addressing == "virtual"
        self._host = f"{bucket}.{parts.netloc}" if virtual else parts.netloc
        self._root = "" if virtual else "/" + path_of(bucket.encode())

    async def ask(self, question: Question, key: bytes) -> Answer:
        """Send one request and reduce the answer to what must be alike."""

        async def attempt() -> Answer:
            try:
                return await self._ask(question, key)
            except TRANSPORT as exc:
                raise from_exception(self.store.where, exc) from exc

        return await persist(attempt, self.store)

    async def _ask(self, question: Question, key: bytes) -> Answer:
        path, query = f"{self._root}/{path_of(self._plane.view.there(key))}", ""
        headers = dict(question.headers or {})
        if question.by == "signed":
            headers = self._plane.signer.headers(question.method, self._host, path, "", headers)
        elif question.by == "presigned":
            query = self._plane.signer.presigned(question.method, self._host, path)
        head = head_of(question.method, f"{path}?{query}" if query else path, {"Host": self._host, **headers})
        connection = await self._pool.take(self.store.origin)
        try:
            answer = await connection.exchange(question.method, head, None)
            if answer.status in (429, 500, 502, 503, 504):
                raise from_answer(self.store.where, answer.status, b"")
            body = (await answer.read(_MOST_BYTES))[:_MOST_BYTES]
        finally:
            self._pool.give(connection)
        found = _telling(question, answer.status, answer.headers)
        return Answer(answer.status, found, _digest(question, answer.status, body))

    async def rules(self) -> list[dict[str, list[str]]]:
        """Return the CORS rules of the bucket: which origins and methods are worth asking about."""
        try:
            _, body = await persist(lambda: self.store.read("GET", query=[("cors", "")]), self.store)
        except Fault as fault:
            if fault.kind in ("gone", "denied", "unsupported", "refused", "no-bucket"):
                return []
            raise
        return _rules(body)


def _telling(question: Question, status: int, headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    if "Origin" in (question.headers or {}):
        found["CORS"] = "allowed" if _browser_may(question, status, headers) else "refused"
        found |= {item: ", ".join(sorted(_words(headers, item))) for item in _CORS if item in headers}
    if status in (200, 206) and question.method in ("GET", "HEAD"):
        found |= kept.kept(headers)
        found |= {item: headers[item] for item in ("Content-Length", "Content-Range") if item in headers}
    return found


def _browser_may(question: Question, status: int, headers: Headers) -> bool:
    """Judge as a browser does: stores name the methods and headers of the rule, or just those asked for."""
    asked = dict(question.headers or {})
    wanted = (
        ("access-control-allow-origin", asked.get("Origin", "")),
        ("access-control-allow-methods", asked.get("Access-Control-Request-Method", "")),
        ("access-control-allow-headers", asked.get("Access-Control-Request-Headers", "")),
    )
    fits = (not want or {"*", want.lower()} & _words(headers, item) for item, want in wanted)
    return status < 300 and all(fits)


def _words(headers: Headers, item: str) -> set[str]:
    return {word.strip().lower() for word in headers.get(item, "").split(",") if word.strip()}


def _digest(question: Question, status: int, body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()[:16] if status in (200, 206) and question.method == "GET" else ""


def _rules(body: bytes) -> list[dict[str, list[str]]]:
    if b"<!" in body:
        return []  # a declaration stands where rules should be: an untrusted document is not expanded
    found = []
    for node in ElementTree.fromstring(body).iter():  # noqa: S314 - no declarations, so no entities
        if node.tag.rpartition("}")[2] == "CORSRule":
            rule: dict[str, list[str]] = {}
            for item in node:
                rule.setdefault(item.tag.rpartition("}")[2], []).append(item.text or "")
            found.append(rule)
    return found


def questions(rules: Iterable[Mapping[str, list[str]]]) -> Iterator[Question]:
    """Yield what is asked about each object."""
    yield Question("anonymous", by="nobody")
    yield Question("anonymous-head", "HEAD", by="nobody")
    yield Question("presigned", by="presigned")
    yield Question("head", "HEAD")
    for what, span in (("first-byte", "0-0"), ("last-bytes", "-3"), ("beyond", "99999999999-")):
        yield Question(f"range-{what}", headers={"Range": f"bytes={span}"})
    origins = {(_FOREIGN, "GET", "")}
    for rule in rules:
        for origin in rule.get("AllowedOrigin", []):
            wanted = next(iter(rule.get("AllowedHeader", [])), "").replace("*", "x-any")
            origins |= {(origin.replace("*", "any"), method, wanted) for method in rule.get("AllowedMethod", [])}
    for origin, method, wanted in sorted(origins):
        asked = {"Origin": origin, "Access-Control-Request-Method": method}
        asked |= {"Access-Control-Request-Headers": wanted} if wanted else {}
        yield Question(f"preflight {method} {origin}", "OPTIONS", "nobody", asked)
        if method == "GET":
            yield Question(f"origin {origin}", by="presigned", headers={"Origin": origin})


def conditions(entry: Entry, modified: str) -> Iterator[Question]:
    """Yield conditional requests; validators are each end's own."""
    yield Question("if-none-match", headers={"If-None-Match": f'"{entry.etag}"'})
    yield Question("if-none-match-other", headers={"If-None-Match": '"0"'})
    yield Question("if-match-other", headers={"If-Match": '"0"'})
    yield Question("if-unmodified-since", headers={"If-Unmodified-Since": _EPOCH})
    if modified:
        yield Question("if-modified-since", headers={"If-Modified-Since": modified})
        yield Question("if-modified-since-epoch", headers={"If-Modified-Since": _EPOCH})


def compare(job: Job, candidates: list[tuple[Entry, Entry]], *, answers: bool) -> Iterator[Finding]:
    """Ask both ends and yield every difference; nothing can be compared when the source does not answer."""
    if not answers:
        text = "the source does not answer, so its behaviour cannot be compared"
        yield Finding(job.address, "behaviour", "unproven", text, "compare while it still answers", "warning")
        return
    if job.source.transport or job.target.transport:
        text = "a store behind libcloud has no requests of its own, so no behaviour was compared"
        yield Finding(job.address, "behaviour", "unproven", text, "ask it by hand", "warning")
        return
    if not candidates:
        text = "no object is equal on both sides, so no behaviour was compared"
        yield Finding(job.address, "behaviour", "unproven", text, "run `rehost apply` first", "warning")
        return
    try:
        yield from asyncio.run(_compare(job, candidates[:CANDIDATES]))
    except Fault as fault:
        raise as_error(fault) from fault


async def _compare(job: Job, candidates: list[tuple[Entry, Entry]]) -> list[Finding]:
    found: list[Finding] = []
    async with session(job.knobs) as pool:
        source = End(job.source, job.source_bucket, pool, job.knobs)
        target = End(job.target, job.target_bucket, pool, job.knobs)
        asked = list(questions([*await source.rules(), *await target.rules()]))
        for mine, theirs in await _chosen(source, target, candidates):
            for question in asked:
                pair = await source.ask(question, mine.key), await target.ask(question, mine.key)
                found += _different(job.address, mine, question, *pair)
            found += await _conditions(job.address, source, target, mine, theirs)
    return found


async def _conditions(address: str, source: End, target: End, mine: Entry, theirs: Entry) -> list[Finding]:
    found: list[Finding] = []
    times = [await _modified(end, mine.key) for end in (source, target)]
    left, right = conditions(mine, times[0]), conditions(theirs, times[1])
    for one, other in zip(left, right, strict=False):
        found += _different(address, mine, one, await source.ask(one, mine.key), await target.ask(other, mine.key))
    return found


async def _modified(end: End, key: bytes) -> str:
    headers, _ = await persist(lambda: end.store.read("HEAD", key), end.store)
    return headers.get("Last-Modified", "")


async def _chosen(source: End, target: End, candidates: list[tuple[Entry, Entry]]) -> list[tuple[Entry, Entry]]:
    """Choose a few objects of each kind: open to everybody on either side, or closed on both."""
    look = Question("anonymous-head", "HEAD", by="nobody")
    kinds: dict[tuple[int, int], list[tuple[Entry, Entry]]] = {}
    for mine, theirs in candidates:
        seen = (await source.ask(look, mine.key)).status, (await target.ask(look, mine.key)).status
        if len(kinds.setdefault(seen, [])) < _EACH:
            kinds[seen].append((mine, theirs))
    return [both for chosen in kinds.values() for both in chosen]


def _different(address: str, entry: Entry, question: Question, here: Answer, there: Answer) -> Iterator[Finding]:
    if here == there:
        return
    if here.status != there.status:
        what = f"the source answers {here.status}, the target {there.status}"
    elif here.headers != there.headers:
        names = sorted(
            k for k in here.headers.keys() | there.headers.keys() if here.headers.get(k) != there.headers.get(k)
        )
        what = f"other headers: {', '.join(names)}"
    else:
        what = "other bytes"
    yield Finding(
        address,
        f"{name(entry)}:{question.what}",
        "different",
        f"{shown(entry.key)}, {question.what}: {what}",
        "make the target's policy, ACL, CORS or website settings as they are at the source, or accept the difference",
        evidence={"source": here.to_json(), "target": there.to_json()},
    )
