"""What a site definition says of files outside it: secrets by reference, payload by digest.

Enters: the plain document (nothing here trusts a type) and the folder it stands in. Leaves: troubles
``(location, text, remedy)``. Reads payload files and the modes of secret files; never reads a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from toolkit.model import Json, sha256_hex
from toolkit.secrets import HOW, file_path, file_trouble, is_reference
from toolkit.site_doc import items, mapping
from toolkit.site_schema import Trouble
from toolkit.site_words import show
from toolkit.site_yaml import Loc

_SECRET_NAME = re.compile(
    r"(^|_)(SECRET|PASSWORD|PASSWD|TOKEN|SECRET_KEY|SECRET_ACCESS_KEY|API_KEY|PRIVATE_KEY)$", re.I
)
_SECRET_TEXT = re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b|-----BEGIN [A-Z ]*PRIVATE KEY-----")


def outside_troubles(doc: dict[str, Json], folder: Path) -> Iterator[Trouble]:
    """Yield literal secrets, secret files that others can read, and payload that is not what it should be."""
    yield from _secrets(doc, folder)
    for loc, payload in payloads(doc):
        yield from _payload(loc, payload, folder)


def payloads(doc: Mapping[str, Json]) -> Iterator[tuple[Loc, dict[str, Json]]]:
    """Yield every ``{file, sha256}`` of the document with its location."""
    document = dict(doc)
    for slug, server in mapping(document, "servers").items():
        if isinstance(mapping(server).get("user_data"), dict):
            yield ("servers", slug, "user_data"), mapping(server, "user_data")
        for name, payload in mapping(server, "app", "files").items():
            if isinstance(payload, dict):
                yield ("servers", slug, "app", "files", name), payload
    if isinstance(mapping(document, "logins").get("accounts"), dict):
        yield ("logins", "accounts"), mapping(document, "logins", "accounts")
    for index, journey in enumerate(items(document.get("journeys"))):
        if isinstance(mapping(journey).get("baseline"), dict):
            yield ("journeys", index, "baseline"), mapping(journey, "baseline")


def _secrets(doc: dict[str, Json], folder: Path) -> Iterator[Trouble]:
    """Find literal secrets where the models cannot, and secret files that others can read."""
    for name, provider in mapping(doc, "providers").items():
        loc: Loc = ("providers", name)
        references = [((*loc, "credentials", key), value) for key, value in mapping(provider, "credentials").items()]
        references.append(((*loc, "access", "key"), mapping(provider, "access").get("key")))
        for key, value in mapping(provider, "args").items():
            if isinstance(value, str) and (_SECRET_NAME.search(key) or key.lower() in ("key", "secret")):
                references.append(((*loc, "args", key), value))
                if not is_reference(value):
                    yield (*loc, "args", key), f"{key}: a literal secret", HOW
        for at, value in references:
            yield from _secret_file(at, value, folder)
    for slug, server in mapping(doc, "servers").items():
        for key, value in mapping(server, "app", "env").items():
            at = ("servers", slug, "app", "env", key)
            literal = isinstance(value, str) and not is_reference(value) and value != ""
            if literal and (_SECRET_NAME.search(key) or _SECRET_TEXT.search(value)):
                yield at, f"{key}: a literal secret in the environment of the app", HOW
            yield from _secret_file(at, value, folder)
    for index, journey in enumerate(items(doc.get("journeys"))):
        for n, step in enumerate(items(mapping(journey).get("steps"))):
            yield from _secret_file(("journeys", index, "steps", n, "auth"), mapping(step).get("auth"), folder)


def _secret_file(loc: Loc, value: Json, folder: Path) -> Iterator[Trouble]:
    if isinstance(value, str) and value.startswith("file:") and value != "file:":
        trouble = file_trouble(file_path(value.removeprefix("file:").strip(), folder))
        if trouble:
            yield loc, *trouble


def _payload(loc: Loc, payload: dict[str, Json], folder: Path) -> Iterator[Trouble]:
    file, wanted = payload.get("file"), payload.get("sha256")
    if not isinstance(file, str) or not file:
        return
    path = folder / file
    if Path(file).is_absolute() or ".." in Path(file).parts:
        yield (*loc, "file"), f"payload {show(file)} lies outside the folder of the site", "copy it beside site.yaml"
        return
    try:
        digest = sha256_hex(path.read_bytes())
    except OSError as exc:
        text = f"payload file {show(file)} cannot be read: {exc.strerror}"
        yield (*loc, "file"), text, f"put it at {path}"
        return
    if isinstance(wanted, str) and re.fullmatch("[0-9a-f]{64}", wanted) and digest != wanted:
        text = f"payload file {show(file)} is not what its sha256 says"
        yield (*loc, "sha256"), text, f"restore the file, or write sha256: {digest}"
