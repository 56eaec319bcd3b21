"""Mistakes of shape in words for a person: what stands where, what should stand there, what to do.

Enters: the plain document. Leaves: troubles ``(location, text, remedy)``, all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from toolkit.model import Json
from toolkit.site_schema import Extensible, Site, Trouble
from toolkit.site_words import did_you_mean, noun, show
from toolkit.site_yaml import Loc


def shape_troubles(doc: Mapping[str, Json]) -> Iterator[Trouble]:
    """Yield everything in the document that has the wrong shape."""
    try:
        Site.model_validate(dict(doc))
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            if not _allowed_x(error):
                yield _trouble(error)


def _allowed_x(error: Any) -> bool:
    if error["type"] != "extra_forbidden" or not str(error["loc"][-1]).startswith("x-"):
        return False
    model = _model_at(error["loc"][:-1])
    return model is not None and issubclass(model, Extensible)


def _trouble(error: Any) -> Trouble:
    loc: Loc = tuple(part for part in error["loc"] if part not in ("<text>", "<other>", "<loose>", "[key]"))
    kind, context, value = error["type"], error.get("ctx", {}), error["input"]
    last = loc[-1] if loc else "the file"
    what = f"item {last + 1} of {loc[-2]}" if isinstance(last, int) and len(loc) > 1 else str(last)
    if kind == "rehost":
        text, remedy = context["text"], context["remedy"]
        return (
            loc,
            text if text.startswith(("bad slug", "TTL", "credentials", "unknown provider")) else f"{what}: {text}",
            remedy,
        )
    if kind == "extra_forbidden":
        model = _model_at(error["loc"][:-1])
        known = [field.alias or name for name, field in model.model_fields.items()] if model else []
        return loc, f"unknown key {last!r}", did_you_mean(str(last), known)
    if kind == "missing":
        return loc[:-1], f"{_path(loc[:-1])}{last!r} is missing", f"add `{last}:`"
    if kind == "literal_error":
        words = [part.strip("' ") for part in context["expected"].replace(" or ", ",").split(",")]
        return (
            loc,
            f"{what}: {show(value)} is not allowed",
            did_you_mean(str(value), words, f"use {context['expected']}"),
        )
    if kind in _MUST_BE:
        wanted, remedy = _MUST_BE[kind]
        return loc, f"{what}: must be {wanted}, not {noun(value)}", remedy
    if kind == "string_too_short":
        return loc, f"{what}: must not be empty", "write a value, or remove the key"
    if kind in ("too_short", "too_long"):
        count = context.get("min_length", context.get("max_length"))
        return loc, f"{what}: holds {context['actual_length']} items where {count} are needed", "complete or shorten it"
    said = error["msg"].replace("Input should be", "must be").replace("String should", "must")
    return loc, f"{what}: {said}, not {show(value)}", "correct the value"


_MUST_BE: Mapping[str, tuple[str, str]] = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", "write it without quotes"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "list_type": ("a list", "write [a, b] or one `- item` a line"),
    "dict_type": ("a mapping", "write `key: value` lines below it"),
    "model_type": ("a mapping", "write `key: value` lines below it"),
}


def _path(loc: Loc) -> str:
    return f"{'.'.join(str(part) for part in loc)}: " if loc else ""


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """Return the model that a location of an error speaks of."""
    current: Any = Site
    for part in loc:
        if part in ("<text>", "<other>"):
            continue
        current = _plain_type(current)
        if isinstance(current, type) and issubclass(current, BaseModel):
            fields = {field.alias or name: field for name, field in current.model_fields.items()}
            current = fields[str(part)].annotation if part in fields else None
        elif get_origin(current) in (dict, list):
            current = get_args(current)[-1]
    current = _plain_type(current)
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _plain_type(annotation: Any) -> Any:
    """Take ``Annotated`` and ``| None`` off; of a choice keep what is not text."""
    while get_origin(annotation) in (Annotated, Union, UnionType):
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        else:
            choices = [choice for choice in get_args(annotation) if choice is not type(None)]
            annotation = choices[-1]
    return annotation
