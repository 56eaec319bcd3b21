"""YAML with positions: text in, a tree of nodes that know where they stand, and every mistake.

Nothing here knows what a site is. The parser is used for its events alone, so no tag can ever make
an object. Scalars follow the YAML 1.2 core schema (``no`` and ``on`` are text) with one exception:
digits with a leading zero stay text, because account numbers begin with zeros.

Indentation by tabs is reported and then repaired, in every way that parses, so that the mistakes
behind it are found in the same go; the caller keeps the repair with the fewest further problems.
Aliases share their target; a text whose aliases would expand beyond bounds is a mistake.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from toolkit.errors import Problem
from toolkit.model import Json

Loc = tuple[str | int, ...]

MAX_CHARACTERS = 64 * 1024 * 1024
MAX_ALIASED_NODES = 100_000
MAX_DEPTH = 64
_MAX_REPAIRS = 50
_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_WORDS: Mapping[str, Json] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u2028\u2029\ufeff]")
_PARSER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one is fifteen times as fast, where it is built


@dataclass(slots=True, eq=False)
class Node:
    """One value of the file. ``value`` is a scalar, a list of nodes, (key, value) pairs or an alias' target.

    ``start`` and ``end`` are offsets in the text; of a block collection only ``start`` means something.
    """

    kind: Literal["scalar", "seq", "map", "alias"]
    value: Any
    line: int
    start: int
    end: int
    style: str = ""  # "" plain, ' " | > for scalars; "flow" or "block" for collections
    nodes: int = 1  # how many nodes this expands to
    anchored: bool = False


@dataclass(frozen=True, slots=True)
class Parsed:
    """A text and its tree; ``root`` is ``None`` when it could not be read to the end."""

    text: str
    root: Node | None
    problems: tuple[Problem, ...]


def parse(text: str, file: str) -> list[Parsed]:
    """Parse ``text``. More than one answer means that tabs stood in the way and several repairs parse."""
    problems: list[Problem] = []
    if len(text) > MAX_CHARACTERS:
        return [Parsed(text, None, (Problem(file, 1, "the file is larger than 64 MiB", "split the site"),))]
    for match in _UNPRINTABLE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        what = f"unprintable character U+{ord(match.group()):04X}"
        problems.append(Problem(file, line, what, "remove it; inside double quotes write it as \\u…"))
    text = _UNPRINTABLE.sub(" ", text)
    first = _build(text, file)
    if first.root is not None or not (_at_tab(first) or "\n\t" in text or text.startswith("\t")):
        return [Parsed(text, first.root, (*problems, *first.problems))]
    repaired = [_repair(text, file, way) for way in ("previous", "next", 2, 4, 8, 1)]
    whole = [built for built in repaired if built.root is not None]
    whole = whole or [max(repaired, key=lambda built: built.stopped_at)]
    return [Parsed(built.text, built.root, (*problems, *built.problems)) for built in whole]


@dataclass(slots=True)
class _Built:
    text: str
    root: Node | None = None
    problems: list[Problem] = field(default_factory=list)
    stopped_at: int = -1  # offset of a syntax error


def _at_tab(built: _Built) -> bool:
    return 0 <= built.stopped_at < len(built.text) and built.text[built.stopped_at] == "\t"


def _repair(text: str, file: str, way: str | int) -> _Built:
    """Replace tabs by spaces until the text parses, in one way; every replaced tab is reported.

    A line that begins with a tab is always wrong. A tab behind spaces is wrong only where the parser
    stops, because the text of a block scalar may begin with one.
    """
    lines = text.split("\n")
    tabbed = {n for n, line in enumerate(lines) if line.startswith("\t") and line.strip()}
    inner: list[Problem] = []
    built = _build("\n".join(_respace(lines, tabbed, way)), file)
    for _ in range(_MAX_REPAIRS):
        if built.root is not None or not _at_tab(built):
            break
        number = built.text.count("\n", 0, built.stopped_at)
        indent = _indent(lines[number])
        if "\t" in indent and number not in tabbed:
            tabbed |= {n for n, line in enumerate(lines) if _indent(line) == indent and line.strip()}
        else:
            lines[number] = indent + lines[number][len(indent) :].replace("\t", " ")
            inner.append(Problem(file, number + 1, "a tab between words", "use a space"))
        built = _build("\n".join(_respace(lines, tabbed, way)), file)
    found = [Problem(file, n + 1, "a tab in the indentation", "indent with spaces") for n in tabbed]
    built.problems = [*found, *inner, *built.problems]
    return built


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" \t"))]


def _respace(lines: list[str], tabbed: set[int], way: str | int) -> list[str]:
    """Indent the tabbed lines with spaces: so many for each tab, or as the previous or next line is."""
    result = list(lines)
    for number in sorted(tabbed):
        indent = _indent(lines[number])
        if isinstance(way, int):
            spaces = indent.replace("\t", " " * way)
        else:
            step = -1 if way == "previous" else 1
            near = number + step
            while 0 <= near < len(lines) and (not lines[near].strip() or (step > 0 and near in tabbed)):
                near += step
            spaces = _indent(result[near]) if 0 <= near < len(lines) else ""
        result[number] = spaces + lines[number][len(indent) :]
    return result


def _build(text: str, file: str) -> _Built:
    built = _Built(text)
    builder = _Builder(file, built.problems)
    try:
        for event in yaml.parse(text, Loader=_PARSER):
            builder.take(event)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        built.stopped_at = mark.index if mark else 0
        built.problems.append(_syntax(exc, file, text))
    except yaml.YAMLError as exc:
        built.problems.append(Problem(file, 1, f"this is not YAML: {exc}", "save the file as UTF-8 text"))
    except _Stop as stop:
        built.problems.append(stop.problem)
    else:
        built.root = builder.root
        if builder.root is None:
            built.problems.append(Problem(file, 1, "the file is empty", "run `rehost discover -p aws` to write one"))
    return built


class _Stop(Exception):
    """The rest of the text cannot be read."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class _Builder:
    """Turns parser events into nodes, without recursion, so that depth cannot exhaust the stack."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.root: Node | None = None
        self._file = file
        self._problems = problems
        self._open: list[Node] = []
        self._keys: list[Node | None] = []  # for each open mapping the key that waits for its value
        self._anchors: dict[str, Node] = {}
        self._aliased = 0
        self._documents = 0

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.ScalarEvent):
            style = event.style or ""
            value = self._scalar(event, line) if not style and event.implicit[0] else event.value
            self._tag(event, line)
            self._place(Node("scalar", value, line, event.start_mark.index, event.end_mark.index, style), event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._tag(event, line)
            if len(self._open) >= MAX_DEPTH:
                raise _Stop(Problem(self._file, line, f"more than {MAX_DEPTH} levels deep", "write it flatter"))
            kind: Literal["map", "seq"] = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
            style = "flow" if event.flow_style else "block"
            node = Node(kind, [], line, event.start_mark.index, event.end_mark.index, style)
            if event.anchor:
                node.anchored = True
                self._anchors[event.anchor] = node
            self._open.append(node)
            self._keys.append(None)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self._open.pop()
            self._keys.pop()
            node.end = event.end_mark.index
            node.nodes = 1 + sum(part.nodes for part in _children(node))
            if node.kind == "map":
                self._duplicates(node)
            self._attach(node)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                problem = Problem(self._file, line, "a second document starts here", "one site per file: remove ---")
                raise _Stop(problem)

    def _place(self, node: Node, event: Any) -> None:
        if event.anchor:
            node.anchored = True
            self._anchors[event.anchor] = node
        self._attach(node)

    def _attach(self, node: Node) -> None:
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        if parent.kind == "seq":
            parent.value.append(node)
        elif (key := self._keys[-1]) is None:
            if node.kind != "scalar":
                self._problems.append(Problem(self._file, node.line, "a key that is no text", "use a plain word"))
                node = Node("scalar", f"?{node.start}", node.line, node.start, node.end, '"')
            self._keys[-1] = node
        else:
            parent.value.append((key, node))
            self._keys[-1] = None

    def _alias(self, event: Any, line: int) -> None:
        target = self._anchors.get(event.anchor)
        if target is None:
            self._problems.append(Problem(self._file, line, f"*{event.anchor} names no anchor", "define it above"))
            target = Node("scalar", None, line, event.start_mark.index, event.end_mark.index)
        elif any(target is node for node in self._open):
            raise _Stop(Problem(self._file, line, f"*{event.anchor} contains itself", "write the value out"))
        self._aliased += target.nodes
        if self._aliased > MAX_ALIASED_NODES:
            text = f"the aliases expand to more than {MAX_ALIASED_NODES:,} values"
            raise _Stop(Problem(self._file, line, text, "write fewer aliases of aliases"))
        alias = Node("alias", target, line, event.start_mark.index, event.end_mark.index, nodes=target.nodes)
        if self._open and self._open[-1].kind == "map" and self._keys[-1] is None and target.kind == "scalar":
            alias = Node("scalar", target.value, line, alias.start, alias.end, target.style)
        self._attach(alias)

    def _scalar(self, event: Any, line: int) -> Json:
        value = resolve(event.value)
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            self._problems.append(Problem(self._file, line, "a number too large", "write it as text, in quotes"))
        return value

    def _tag(self, event: Any, line: int) -> None:
        if event.tag not in (None, "!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._problems.append(Problem(self._file, line, f"the tag {event.tag} is not used here", "remove it"))

    def _duplicates(self, node: Node) -> None:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            name = key_text(key)
            if name in seen and not is_merge(key):
                text = f"duplicate key {name!r}, first on line {seen[name]}"
                self._problems.append(Problem(self._file, key.line, text, "keep one of the two"))
            seen.setdefault(name, key.line)


def _children(node: Node) -> Iterator[Node]:
    if node.kind == "map":
        for key, value in node.value:
            yield key
            yield value
    elif node.kind == "seq":
        yield from node.value


def _syntax(exc: yaml.MarkedYAMLError, file: str, text: str) -> Problem:
    mark = exc.problem_mark or exc.context_mark
    line = (mark.line if mark else 0) + 1
    said = str(exc.problem or exc.context or "unreadable").replace("\n", " ")
    if mark and mark.index < len(text) and text[mark.index : mark.index + 1] == "\t":
        return Problem(file, line, "a tab in the indentation", "indent with spaces")
    if "mapping values are not allowed" in said:
        return Problem(file, line, "a colon where no key can stand", "check the indentation, or quote the value")
    if "unexpected end of stream" in said and exc.context_mark and "quoted" in str(exc.context):
        return Problem(file, exc.context_mark.line + 1, "a quote that is not closed", "close it with the same quote")
    if "could not find expected ':'" in said:
        begun = exc.context_mark.line + 1 if exc.context_mark else line
        return Problem(file, begun, "a line that is no `key: value`", "add the colon and a space, or indent the text")
    if "did not find expected key" in said or "expected <block end>" in said:
        return Problem(file, line, "the indentation fits no line above", "align keys of one mapping")
    if "flow" in str(exc.context) and exc.context_mark:
        begun = exc.context_mark.line + 1
        return Problem(file, begun, "a { or [ that is not closed, or a missing comma", "check the brackets")
    return Problem(file, line, f"this is not YAML: {said}", "correct the syntax; what follows was not read")


def resolve(text: str) -> Json:
    """Return what a plain scalar means: null, a truth value, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789" or _LEADING_ZERO.fullmatch(text):
        return text
    if _INT.fullmatch(text):
        return int(text) if len(text) < 400 else text
    return float(text) if _FLOAT.fullmatch(text) else text


def key_text(key: Node) -> str:
    """Return a key as text: ``443:`` is the key ``"443"``."""
    if isinstance(key.value, str):
        return key.value
    return {None: "null", True: "true", False: "false"}.get(key.value, str(key.value))


def is_merge(key: Node) -> bool:
    """Say whether a key is ``<<``, which takes over the keys of other mappings."""
    return key.value == "<<" and not key.style


def entries(node: Node) -> dict[str, tuple[Node, Node]]:
    """Return the keys of a mapping, own ones first, then those taken over by ``<<``."""
    node = target(node)
    found: dict[str, tuple[Node, Node]] = {}
    merged: list[Node] = []
    for key, value in node.value:
        if is_merge(key):
            other = target(value)
            merged += other.value if other.kind == "seq" else [other]
        else:
            found.setdefault(key_text(key), (key, value))
    for other in merged:
        if target(other).kind == "map":
            for name, pair in entries(other).items():
                found.setdefault(name, pair)
    return found


def target(node: Node) -> Node:
    """Follow an alias to what it stands for."""
    while node.kind == "alias":
        node = node.value
    return node


def plain(node: Node) -> Json:
    """Return the value as plain JSON."""
    node = target(node)
    if node.kind == "map":
        return {name: plain(value) for name, (_, value) in entries(node).items()}
    if node.kind == "seq":
        return [plain(item) for item in node.value]
    return node.value


def line_of(root: Node, loc: Loc) -> int:
    """Return the line of what ``loc`` names, or of the nearest thing above it that exists."""
    node, line = target(root), root.line
    for part in loc:
        if node.kind == "map" and (pair := entries(node).get(str(part))):
            line, node = pair[0].line, target(pair[1])
        elif node.kind == "seq" and isinstance(part, int) and part < len(node.value):
            line, node = node.value[part].line, target(node.value[part])
    return line
