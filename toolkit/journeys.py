"""Journeys: ordered HTTP requests that prove the app works, and the sweeps beside them.

A journey is recorded at the source as baseline and replayed on the new side. A step passes when its
status is as expected and its answer is what ``expect`` says: a digest, JSON values, headers; a GET
without any of these must give the very bytes of the baseline.

Enters: journeys of the site definition and a ``Fetch``. Leaves: results. An unreachable host is a
failed step, not an exception.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from toolkit.errors import RehostError
from toolkit.model import Json, sha256_hex
from toolkit.secrets import Secret, resolve

_PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
MAX_PARALLEL = 16

#: How a reference becomes the secret it names.
Reveal = Callable[[str], Secret]


class Answer(Protocol):
    """An HTTP answer, as ``toolkit.wire`` gives it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


class Fetch(Protocol):
    """Send one request to whatever the name resolves to right now."""

    def __call__(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer: ...


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: what came back, and why it failed (empty: it passed)."""

    method: str
    url: str
    status: int
    sha256: str
    why: str = ""

    def to_json(self) -> dict[str, Json]:
        return {"method": self.method, "url": self.url, "status": self.status, "sha256": self.sha256, "why": self.why}


@dataclass(frozen=True, slots=True)
class JourneyResult:
    """One journey: passed when every step did."""

    name: str
    steps: tuple[StepResult, ...]
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        return bool(self.steps) and not any(step.why for step in self.steps)

    def to_json(self) -> dict[str, Json]:
        return {
            "name": self.name,
            "passed": self.passed,
            "seconds": round(self.seconds, 3),
            "steps": [step.to_json() for step in self.steps],
        }


def record(
    journeys: Iterable[Mapping[str, Json]], fetch: Fetch, *, secret: Reveal = resolve
) -> tuple[JourneyResult, ...]:
    """Run the journeys at the source; a step that fails there is a mistake in the journey."""
    return tuple(_run(journey, fetch, None, secret) for journey in journeys)


def replay(
    journeys: Iterable[Mapping[str, Json]], fetch: Fetch, baseline: Mapping[str, Json], *, secret: Reveal = resolve
) -> tuple[JourneyResult, ...]:
    """Run the journeys on the new side and compare with the baseline (journey name → recorded steps)."""
    return tuple(_run(journey, fetch, baseline.get(str(journey["name"])), secret) for journey in journeys)


def _run(journey: Mapping[str, Json], fetch: Fetch, recorded: Json, secret: Reveal) -> JourneyResult:
    started = time.monotonic()
    saved: dict[str, str] = {}
    results: list[StepResult] = []
    for index, step in enumerate(journey.get("steps", ())):
        before = recorded[index] if recorded and index < len(recorded) else None
        result = _step(step, fetch, saved, before, secret)
        results.append(result)
        if result.why:
            break
    return JourneyResult(str(journey["name"]), tuple(results), time.monotonic() - started)


def _step(step: Mapping[str, Json], fetch: Fetch, saved: dict[str, str], before: Json, secret: Reveal) -> StepResult:
    method, url = str(step.get("method", "GET")), fill(str(step["url"]), saved)
    headers = {str(key): fill(str(value), saved) for key, value in (step.get("headers") or {}).items()}
    try:
        values = {**saved, **_auth(step, secret)}
        if (auth := values.get("auth")) and "Authorization" not in headers and "{auth" not in json.dumps(step):
            headers["Authorization"] = f"Bearer {auth}"
        body = encode(step.get("body"), values)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        answer = fetch(method, url, headers, body)
    except RehostError as exc:
        return StepResult(method, url, 0, "", exc.text)
    digest = sha256_hex(answer.body)
    why = judge(step, answer, digest, before)
    if not why:
        why = _save(step.get("save") or {}, answer.body, saved)
    return StepResult(method, url, answer.status, digest, why)


def judge(step: Mapping[str, Json], answer: Answer, digest: str, before: Json) -> str:
    """Say why an answer is not what was expected; an empty text means that it is."""
    expect = step.get("expect") or {}
    wanted = int(expect.get("status", 200))
    if answer.status != wanted:
        return f"status {answer.status} instead of {wanted}"
    have = {key.lower(): value for key, value in answer.headers.items()}
    for key, value in (expect.get("headers") or {}).items():
        if have.get(str(key).lower()) != str(value):
            return f"header {key} is {have.get(str(key).lower())!r} instead of {value!r}"
    if (wanted_digest := expect.get("sha256")) and wanted_digest != "baseline" and digest != wanted_digest:
        return "the content differs from the digest in the journey"
    if "json" in expect:
        try:
            found = json.loads(answer.body)
        except ValueError:
            return "the answer is not JSON"
        return differs(expect["json"], found)
    if before is not None and (expect.get("sha256") == "baseline" or _bytes_count(step)) and digest != before["sha256"]:
        return "the content differs from what the source answered"
    return ""


def _bytes_count(step: Mapping[str, Json]) -> bool:
    return str(step.get("method", "GET")) == "GET" and "sha256" not in (step.get("expect") or {})


def differs(expected: Json, found: Json, where: str = "$") -> str:
    """Compare JSON: objects may hold more than expected, everything else must be equal."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return f"{where} is not an object"
        for key, value in expected.items():
            if key not in found:
                return f"{where}.{key} is missing"
            if why := differs(value, found[key], f"{where}.{key}"):
                return why
        return ""
    return "" if expected == found else f"{where} is {found!r} instead of {expected!r}"


def _save(wanted: Mapping[str, Json], body: bytes, saved: dict[str, str]) -> str:
    for name, path in wanted.items():
        try:
            value = json.loads(body)
            for part in str(path).removeprefix("$").strip(".").split("."):
                value = value[int(part)] if isinstance(value, list) else value[part]
        except (ValueError, KeyError, IndexError, TypeError):
            return f"there is no {path} in the answer to save as {name}"
        saved[str(name)] = str(value)
    return ""


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace ``{name}`` by what an earlier step saved; unknown names stay as they are."""
    return _PLACE.sub(lambda match: values.get(match.group(1), match.group(0)), text)


def encode(body: Json, values: Mapping[str, str]) -> bytes | None:
    """Render a request body: text as it is, anything else as JSON, with ``{name}`` filled in values."""
    if body is None:
        return None
    if isinstance(body, str):
        return fill(body, values).encode()
    return json.dumps(_fill_all(body, values)).encode()


def _fill_all(value: Json, values: Mapping[str, str]) -> Json:
    if isinstance(value, Mapping):
        return {key: _fill_all(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_fill_all(item, values) for item in value]
    return fill(value, values) if isinstance(value, str) else value


def _auth(step: Mapping[str, Json], secret: Reveal) -> dict[str, str]:
    """Resolve the credential of a step: ``login:password`` or a bare token, by reference."""
    if not step.get("auth"):
        return {}
    text = secret(str(step["auth"])).reveal()
    login, _, password = text.partition(":")
    return {"auth": text, "auth_login": login, "auth_password": password}


@dataclass(frozen=True, slots=True)
class Swept:
    """The outcome of many like requests: how many, and which failed (the first 1,000)."""

    total: int
    passed: int
    failures: tuple[tuple[str, str], ...]  # (what, why)


def sweep(requests: Iterable[tuple[str, Callable[[], str]]]) -> Swept:
    """Run many checks (name, callable giving why it failed) in parallel and count them."""
    total = passed = 0
    failures: list[tuple[str, str]] = []
    with ThreadPoolExecutor(MAX_PARALLEL) as pool:
        for name, why in pool.map(_guarded, requests):
            total += 1
            passed += not why
            if why and len(failures) < 1000:
                failures.append((name, why))
    return Swept(total, passed, tuple(failures))


def _guarded(item: tuple[str, Callable[[], str]]) -> tuple[str, str]:
    name, check = item
    try:
        return name, check()
    except RehostError as exc:
        return name, exc.text


def logins(
    definition: Mapping[str, Json], accounts: Iterable[Mapping[str, str]], fetch: Fetch
) -> Iterator[tuple[str, Callable[[], str]]]:
    """One check for each account: does it log in?"""
    for account in accounts:
        yield account["login"], partial(_login, definition, account, fetch)


def _login(definition: Mapping[str, Json], account: Mapping[str, str], fetch: Fetch) -> str:
    body = encode(definition.get("body"), account)
    headers = {"Content-Type": "application/json"}
    answer = fetch(str(definition.get("method", "POST")), fill(str(definition["url"]), account), headers, body)
    return judge(definition, answer, sha256_hex(answer.body), None)


def pages(recorded: Iterable[Mapping[str, Json]], fetch: Fetch) -> Iterator[tuple[str, Callable[[], str]]]:
    """One check for each recorded page: is it served byte for byte as at the source?"""
    for page in recorded:
        yield str(page["url"]), partial(_page, page, fetch)


def _page(page: Mapping[str, Json], fetch: Fetch) -> str:
    answer = fetch("GET", str(page["url"]), {}, None)
    if answer.status != page["status"]:
        return f"status {answer.status} instead of {page['status']}"
    return "" if sha256_hex(answer.body) == page["sha256"] else "the content differs from what the source answered"


def take(urls: Iterable[str], fetch: Fetch) -> list[dict[str, Json]]:
    """Record pages at the source: url, status and digest of each."""

    def one(url: str) -> dict[str, Json]:
        answer = fetch("GET", url, {}, None)
        return {"url": url, "status": answer.status, "sha256": sha256_hex(answer.body)}

    with ThreadPoolExecutor(MAX_PARALLEL) as pool:
        return list(pool.map(one, urls))
