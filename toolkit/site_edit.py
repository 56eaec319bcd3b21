"""Change values inside a YAML text and leave every other byte alone: comments, order, quotes, blank lines.

Enters: a text and the document that it shall mean. Leaves: the text with only those places rewritten
that mean something else now. The result is parsed again and compared, so a wrong edit cannot leave;
a second pass mends what an edit changed elsewhere through an anchor.

Raises :class:`~toolkit.errors.DefinitionError` for a text with mistakes, and for one whose anchors or
merge keys leave no place to write the value.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from toolkit.errors import DefinitionError, Problem
from toolkit.model import Json
from toolkit.site_emit import WIDTH, Forced, entry, inline, lines, never
from toolkit.site_yaml import Loc, Node, entries, is_merge, key_text, line_of, parse, plain

_PASSES = 6


@dataclass(frozen=True, slots=True, order=True)
class _Edit:
    """Replace ``text[start:end]``. Edits of one pass never overlap."""

    start: int
    end: int
    new: str


class _Fallback(Exception):
    """The collection cannot be edited in place; write it anew."""


def rewrite(text: str, wanted: dict[str, Json], *, file: str, forced: Forced = never) -> str:
    """Return ``text`` changed so that it means ``wanted``. ``forced`` says which mappings become blocks."""
    for _ in range(_PASSES):
        parsed = parse(text, file)[0]
        if parsed.root is None or parsed.problems or parsed.root.kind != "map":
            raise DefinitionError(list(parsed.problems) or [Problem(file, 1, "it is not a mapping", "start anew")])
        root = parsed.root
        if same(plain(root), wanted):
            return text
        writer = _Writer(text, forced, "\r\n" if "\r\n" in text else "\n")
        text = writer.apply(list(writer.value(None, root, wanted, ())))
    where = _first_difference(root, wanted)
    line = line_of(root, where)
    what = f"{'.'.join(str(part) for part in where)} cannot be updated: it is shared through an anchor"
    raise DefinitionError([Problem(file, line, what, "write that value out at each place, then run discover again")])


def same(one: Json, other: Json) -> bool:
    """Compare as JSON: ``1``, ``1.0`` and ``true`` are three things, the order of keys is none."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _dump(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _first_difference(node: Node, wanted: Json, loc: Loc = ()) -> Loc:
    have = plain(node)
    if isinstance(have, dict) and isinstance(wanted, dict):
        for key in {**wanted, **have}:
            if key not in wanted or key not in have:
                return (*loc, key)
            if not same(have[key], wanted[key]):
                return _first_difference(entries(node)[key][1], wanted[key], (*loc, key))
    return loc


@dataclass(frozen=True, slots=True)
class _Writer:
    text: str
    forced: Forced
    newline: str

    def apply(self, edits: list[_Edit]) -> str:
        parts, at = [], 0
        for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
            parts += [self.text[at : edit.start], edit.new.replace("\n", self.newline)]
            at = edit.end
        return "".join([*parts, self.text[at:]])

    def value(self, key: Node | None, node: Node, wanted: Json, loc: Loc) -> Iterator[_Edit]:
        """Yield the edits that make ``node`` mean ``wanted``; ``key`` is its key if that has lines of its own."""
        if same(plain(node), wanted):
            return
        try:
            if node.kind == "map" and isinstance(wanted, dict) and wanted and node.value:
                found = list(self._map(node, wanted, loc))
            elif node.kind == "seq" and isinstance(wanted, list) and wanted and node.value:
                found = list(self._seq(node, wanted, loc))
            else:
                found = [self._replace(key, node, wanted, loc)]
        except _Fallback:
            found = [self._replace(key, node, wanted, loc)]
        yield from found

    def _map(self, node: Node, wanted: dict[str, Json], loc: Loc) -> Iterator[_Edit]:
        own = {key_text(key): (key, value) for key, value in node.value if not is_merge(key)}
        inherited = {key: plain(value) for key, (_, value) in entries(node).items() if key not in own}
        removed = [name for name in own if name not in wanted]
        kept = [name for name in own if name in wanted]
        flow = node.style == "flow"
        if (removed and flow) or not kept:
            raise _Fallback
        for name in kept:
            key, item = own[name]
            yield from self.value(None if flow else key, item, wanted[name], (*loc, name))
        for name in removed:
            yield self._cut(own[name][0].start, self.end(own[name][1]), "")
        after: dict[str, list[str]] = {}
        before: list[str] = []
        previous = ""
        for name in wanted:
            if name in own:
                previous = name
            elif name not in inherited or not same(inherited[name], wanted[name]):
                (after.setdefault(previous, []) if previous else before).append(name)
        for anchor, names in after.items():
            yield self._insert_after(node, own[anchor], {name: wanted[name] for name in names}, loc)
        if before:
            yield self._insert_before(node, own[kept[0]][0], {name: wanted[name] for name in before}, loc)

    def _insert_after(self, node: Node, sibling: tuple[Node, Node], new: dict[str, Json], loc: Loc) -> _Edit:
        end = self.end(sibling[1])
        if node.style == "flow":
            return _Edit(end, end, "".join(f", {inline({name: item})[1:-1]}" for name, item in new.items()))
        at = self._line_end(end)
        return _Edit(at, at, "".join("\n" + part for part in self._entries(node, new, loc)))

    def _insert_before(self, node: Node, sibling: Node, new: dict[str, Json], loc: Loc) -> _Edit:
        at = sibling.start
        if node.style == "flow":
            return _Edit(at, at, "".join(f"{inline({name: item})[1:-1]}, " for name, item in new.items()))
        if self.text[self._line_start(at) : at].strip():
            raise _Fallback
        start = self._line_start(at)
        return _Edit(start, start, "".join(part + "\n" for part in self._entries(node, new, loc)))

    def _entries(self, node: Node, new: dict[str, Json], loc: Loc) -> list[str]:
        indent = self._column(node.value[0][0].start)
        found: list[str] = []
        for name, item in new.items():
            made = entry(name, item, indent, (*loc, name), self.forced)
            # Sections stand apart; what is inside a section stands together.
            found += ["", *made] if not loc and len(made) > 1 else made
        return found

    def _seq(self, node: Node, wanted: list[Json], loc: Loc) -> Iterator[_Edit]:
        have = [_dump(plain(item)) for item in node.value]
        if len(have) == len(wanted):
            for index, item in enumerate(node.value):
                yield from self.value(None, item, wanted[index], (*loc, index))
            return
        if node.style == "flow" or self.text[node.start : node.start + 1] != "-":
            raise _Fallback
        column = self._column(node.start)
        matcher = SequenceMatcher(None, have, [_dump(item) for item in wanted], autojunk=False)
        for operation, i1, i2, j1, j2 in matcher.get_opcodes():
            if operation == "equal":
                continue
            shared = min(i2 - i1, j2 - j1)
            for step in range(shared):
                yield from self.value(None, node.value[i1 + step], wanted[j1 + step], (*loc, i1 + step))
            for item in node.value[i1 + shared : i2]:
                if self._column(self._first_word(item.start)) != column:
                    raise _Fallback
                yield self._cut(item.start, self.end(item), "-")
            if j1 + shared < j2:
                new = lines(wanted[j1 + shared : j2], column, loc, self.forced)
                yield self._insert_items(node, i1 + shared, new)

    def _insert_items(self, node: Node, index: int, new: list[str]) -> _Edit:
        if index:
            at = self._line_end(self.end(node.value[index - 1]))
            return _Edit(at, at, "".join("\n" + part for part in new))
        if self._first_word(node.start) != node.start:
            raise _Fallback
        at = self._line_start(node.start)
        return _Edit(at, at, "".join(part + "\n" for part in new))

    def _replace(self, key: Node | None, node: Node, wanted: Json, loc: Loc) -> _Edit:
        """Write a value anew: in block lines where it stood in block lines or is long, else on its line."""
        start, end = node.start, self.end(node)
        if node.anchored and self.text[start : start + 1] == "&":
            # Aliases elsewhere need the anchor; a later pass gives them their own value again.
            while start < end and not self.text[start].isspace():
                start += 1
            return _Edit(start, end, f" {inline(wanted)}")
        column = self._column(start)
        fits = column + len(inline(wanted)) <= WIDTH and not self.forced(loc)
        blocks = isinstance(wanted, dict | list) and bool(wanted) and not fits
        if node.kind in ("map", "seq") and node.style == "block":
            if blocks:
                return _Edit(start, end, "\n".join(lines(wanted, column, loc, self.forced))[column:])
            # A list may stand in the column of its key; a value on a line of its own may not.
            deeper = "  " if key is not None and self._column(key.start) >= column else ""
            return _Edit(start, end, deeper + inline(wanted))
        line_end = self._line_end(end)
        if blocks and key is not None and (start == end or line_end == end):
            made = "\n" + "\n".join(lines(wanted, self._column(key.start) + 2, loc, self.forced))
            # Behind an empty value there may be a comment, which stays on the line of the key.
            return _Edit(line_end, line_end, made) if start == end else _Edit(self._after_colon(key), end, made)
        return _Edit(start, end, inline(wanted) if start < end else f" {inline(wanted)}")

    def _after_colon(self, key: Node) -> int:
        return self.text.index(":", key.end) + 1

    def _cut(self, start: int, end: int, mark: str) -> _Edit:
        """Remove whole lines, from that of ``start`` to that of ``end``; only ``mark`` may stand before."""
        begin = self._line_start(start)
        if self.text[begin:start].strip() != mark:
            raise _Fallback
        stop = self._line_end(end)
        if stop < len(self.text):
            return _Edit(begin, stop + (2 if self.text.startswith("\r\n", stop) else 1), "")
        return _Edit(begin, stop, "")

    def end(self, node: Node) -> int:
        """Return where a value really ends: a block reaches to the end of its last value."""
        if node.kind in ("map", "seq") and node.style == "block" and node.value:
            last = node.value[-1]
            return self.end(last[1] if node.kind == "map" else last)
        if node.kind == "scalar" and node.style in ("|", ">"):
            return node.start + len(self.text[node.start : node.end].rstrip())
        return node.end

    def _line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        found = self.text.find("\n", at)
        if found < 0:
            return len(self.text)
        return found - 1 if found > at and self.text[found - 1] == "\r" else found

    def _column(self, at: int) -> int:
        return at - self._line_start(at)

    def _first_word(self, at: int) -> int:
        begin = self._line_start(at)
        line = self.text[begin : self._line_end(at)]
        return begin + len(line) - len(line.lstrip(" "))
