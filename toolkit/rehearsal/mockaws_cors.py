"""A CORS preflight answered as S3 does: by the bucket's rules alone, whoever may read the object.

Enters: the bucket's rules (moto's) and the headers of an OPTIONS request. Leaves: the headers of the
answer. Raises ``S3Failure`` (403) where no rule fits; moto answers 200, and 403 for a private object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from toolkit.rehearsal.mockaws_s3_list import S3Failure


def preflight(rules: Iterable[Any], headers: Mapping[str, str]) -> dict[str, str]:
    """Return the answer's headers by the first rule that allows origin, method and every header."""
    origin, method = headers.get("Origin", ""), headers.get("Access-Control-Request-Method", "")
    if not origin or not method:
        raise S3Failure(400, "BadRequest", "Insufficient information. Origin and method are needed.")
    asked = [word.strip().lower() for word in headers.get("Access-Control-Request-Headers", "").split(",") if word]
    for rule in rules:
        origins, allowed = rule.allowed_origins or [], [word.lower() for word in rule.allowed_headers or []]
        if (
            method in (rule.allowed_methods or [])
            and any(_fits(origin, wanted) for wanted in origins)
            and all(any(_fits(word, wanted) for wanted in allowed) for word in asked)
        ):
            return _answer(rule, "*" if "*" in origins else origin, asked)
    raise S3Failure(403, "AccessForbidden", "CORSResponse: This CORS request is not allowed.")


def _fits(text: str, wanted: str) -> bool:
    # Only the star has a meaning in a rule.
    return fnmatchcase(text, wanted.replace("[", "[[]").replace("?", "[?]"))


def _answer(rule: Any, origin: str, asked: list[str]) -> dict[str, str]:
    found = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": ", ".join(rule.allowed_methods),
        "Access-Control-Allow-Headers": ", ".join(asked),
        "Access-Control-Expose-Headers": ", ".join(rule.exposed_headers or []),
        "Access-Control-Max-Age": str(rule.max_age_seconds or ""),
    }
    return {name: value for name, value in found.items() if value}
