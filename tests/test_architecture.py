"""The house rules, executable: who may import whom, what nobody writes, which tests must exist.

Each rule is a function from a parsed module to complaints; the last part plants a breach of every rule
and insists that it is found.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from toolkit import verdicts
from toolkit.summary import PROMISES

ROOT = Path(__file__).resolve().parent.parent
FAMILIES = ("storage", "dns", "compute", "database")
STAGES = frozenset(
    (
        *("apply", "assess", "copy", "cutover", "discover", "doctor", "journal", "journeys", "leases", "plan"),
        *("prove", "reach", "rewrite", "rollback", "runs", "standing", "status", "summary", "verify"),
    )
)
#: layer → layers it may import. A stage knows families only through their Protocol; ``own`` is the same family.
ALLOWED = {
    "core": {"core"},
    "driver": {"core", "own"},
    "family": {"core", "own"},
    "stage": {"core", "stage"},
    "report": {"core", "stage", "report"},
    # A stage of its own: it reads what the others left and renders with the report's words; none of them knows it.
    "exitplan": {"core", "stage", "report", "exitplan"},
    "wiring": {"core", "stage", "family", "driver", "wiring"},
    "rehearsal": {"core", "stage", "family", "driver", "wiring", "report", "rehearsal"},
    "cli": {"core", "stage", "report", "exitplan", "wiring", "rehearsal", "cli"},
}
#: third-party package → prefixes of the modules that may import it. What is not listed, nobody imports.
FENCES: dict[str, tuple[str, ...]] = {
    "boto3": ("toolkit.*.drivers", "toolkit.aws", "toolkit.rehearsal"),
    "botocore": ("toolkit.*.drivers", "toolkit.aws", "toolkit.rehearsal"),
    "libcloud": ("toolkit.*.drivers", "toolkit.rehearsal"),
    "libvirt": ("toolkit.compute.drivers", "toolkit.rehearsal"),
    "moto": ("toolkit.rehearsal",),
    "requests": ("toolkit.rehearsal",),
    "werkzeug": ("toolkit.rehearsal",),
    "flask": ("toolkit.rehearsal",),
    "dns": ("toolkit.dns", "toolkit.wire", "toolkit.rehearsal"),
    "fabric": ("toolkit.hosts",),
    "paramiko": ("toolkit.hosts",),
    "typer": ("toolkit.cli", "toolkit.report"),
    "click": ("toolkit.cli", "toolkit.report"),
    "rich": ("toolkit.cli", "toolkit.report"),
    "aiohttp": ("toolkit.rehearsal",),
    "httptools": ("toolkit.storage",),
    "uvloop": ("toolkit.storage",),
    "yarl": ("toolkit.rehearsal",),
    "pyarrow": ("toolkit.storage",),
    "jinja2": ("toolkit.report", "toolkit.compute", "toolkit.exitplan"),
    "markupsafe": ("toolkit.report", "toolkit.compute", "toolkit.exitplan"),
    "pydantic": ("toolkit.site", "toolkit.report"),
    "pydantic_core": ("toolkit.site",),
    "typing_extensions": ("toolkit.report",),
    "ruamel": ("toolkit.site", "toolkit.verdicts", "toolkit.rehearsal"),
    "yaml": ("toolkit.site", "toolkit.verdicts", "toolkit.rehearsal"),
    "cryptography": ("toolkit.rehearsal", "toolkit.dns", "toolkit.compute.drivers"),
}
#: Modules of more than 400 lines, each with the reason why it is still one.
LONG: dict[str, str] = {
    "toolkit/database/family.py": "one method for each verb of the Family protocol, dump and restore in each",
    "toolkit/wire.py": "resolution from the top and the one HTTP request that uses it: both start at the same hints",
    "toolkit/wiring.py": "the one file that picks drivers, of every family: two such files would be two wirings",
    "toolkit/site_schema.py": "one model for each section of site.yaml, read from top to bottom beside the file",
    "toolkit/storage/family.py": "one method for each verb of the Family protocol, for buckets, objects and settings",
    "toolkit/compute/family.py": "one method for each verb of the Family protocol, four kinds of resources in each",
}
LINES = 400

Rule = Callable[[str, ast.Module], Iterator[str]]


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of the package, parsed once."""
    found = {}
    for path in sorted((ROOT / "toolkit").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = ast.parse(path.read_text("utf-8"), str(path))
    return found


def layer(module: str) -> str:
    """Name the layer of a module."""
    parts = module.split(".")
    if len(parts) == 1:
        return "core"
    if parts[1] in FAMILIES:
        return "driver" if len(parts) > 2 and parts[2] == "drivers" else "family"
    if parts[1] in ("cli", "report", "rehearsal", "exitplan"):
        return parts[1]
    if parts[1] == "wiring":
        return "wiring"
    return "stage" if parts[1] in STAGES or parts[1].split("_")[0] == "site" else "core"


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield (dotted name, line) of every import, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                yield f"relative.{base}", node.lineno
            elif base in ("toolkit", "dns") or base.startswith("toolkit."):
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
            else:
                yield base, node.lineno


def directions(module: str, tree: ast.Module) -> Iterator[str]:
    """Imports point down only."""
    mine = layer(module)
    for name, line in imports(tree):
        if name.startswith("relative."):
            yield f"{module}:{line} imports relatively; write the whole name"
        if not name.startswith("toolkit"):
            continue
        other = layer(name)
        if other in ("family", "driver") and name.split(".")[1] == [*module.split("."), ""][1]:
            # A family may know what its drivers have in common, never one of them: wiring picks.
            if mine == "family" and other == "driver" and not _is_shape(name):
                yield f"{module}:{line} imports the driver {name}; wiring picks drivers"
            continue
        if other not in ALLOWED[mine]:
            yield f"{module}:{line} ({mine}) imports {name} ({other})"


def _is_shape(name: str) -> bool:
    """Say whether a name of a driver module is a Protocol or plain frozen data."""
    home, _, wanted = name.rpartition(".")
    for node in ast.walk(modules().get(home, ast.Module([], []))):
        if isinstance(node, ast.ClassDef) and node.name == wanted:
            marks = [ast.unparse(mark) for mark in (*node.bases, *node.decorator_list)]
            return any(mark == "Protocol" or mark.startswith("dataclass(frozen=True") for mark in marks)
    return False


def fences(module: str, tree: ast.Module) -> Iterator[str]:
    """Third-party packages stay behind their fences."""
    for name, line in imports(tree):
        top = name.split(".")[0]
        if top in ("toolkit", "relative", "__future__") or top in sys.stdlib_module_names:
            continue
        if not any(_inside(module, prefix) for prefix in FENCES.get(top, ())):
            yield f"{module}:{line} imports {top}, which is kept to {', '.join(FENCES.get(top, ())) or 'nobody'}"


def _inside(module: str, prefix: str) -> bool:
    parts, wanted = module.split("."), prefix.split(".")
    if prefix == "toolkit.site":
        return parts[1:2] == ["site"] or (len(parts) > 1 and parts[1].startswith("site_"))
    return len(parts) >= len(wanted) and all(w in ("*", p) for p, w in zip(parts, wanted, strict=False))


def banned_calls(module: str, tree: ast.Module) -> Iterator[str]:
    """Calls that have hurt others: shells, blind trust, unsafe loaders, prints."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        where = f"{module}:{node.lineno}"
        for word in node.keywords:
            said = f"{word.arg}={ast.unparse(word.value)}"
            if said in ("shell=True", "verify=False", "verify_ssl=False"):
                yield f"{where} says {said}"
            if word.arg == "typ" and ast.unparse(word.value) == "'unsafe'":
                yield f"{where} loads YAML unsafely"
        if called in (
            "yaml.load",
            "pickle.load",
            "pickle.loads",
            "marshal.loads",
            "os.system",
            "os.popen",
            "eval",
            "exec",
        ):
            yield f"{where} calls {called}"
        if called.endswith(".extractall"):
            yield f"{where} calls extractall: member names come from strangers"
        if called == "print" and layer(module) != "cli":
            yield f"{where} prints; use logging or the tick that was passed"


def banned_handlers(module: str, tree: ast.Module) -> Iterator[str]:
    """No exception is swallowed, and none is caught without a name for it."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield f"{module}:{node.lineno} catches everything without naming it"
        if all(_says_nothing(statement) for statement in node.body):
            yield f"{module}:{node.lineno} swallows an exception"


def _says_nothing(statement: ast.stmt) -> bool:
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass) or constant


def state(module: str, tree: ast.Module) -> Iterator[str]:
    """No module-level state: nothing inside a function changes what stands at the top of a module."""
    if module.startswith("toolkit.rehearsal.guest."):
        return  # runs inside the moved app's process, as an interpreter hook: there is nowhere else to keep it
    top = {
        name.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        for name in ast.walk(target)
        if isinstance(name, ast.Name)
    }
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        shared = top - _own_names(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Global):
                yield f"{module}:{node.lineno} declares global {', '.join(node.names)}"
            elif (name := _changed(node)) in shared:
                yield f"{module}:{getattr(node, 'lineno', 0)} changes the module-level {name}"


_MUTATORS = frozenset(
    (
        *("append", "appendleft", "extend", "insert", "add", "update", "setdefault"),
        *("pop", "popitem", "clear", "remove", "discard"),
    )
)


def _changed(node: ast.AST) -> str:
    """Return the name of the variable whose content ``node`` changes, if it does."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _MUTATORS:
        return node.func.value.id if isinstance(node.func.value, ast.Name) else ""
    if isinstance(node, ast.Assign | ast.Delete):
        targets = node.targets
    elif isinstance(node, ast.AugAssign):
        targets = [node.target]
    for target in targets:
        if isinstance(target, ast.Subscript) and isinstance(target.value, ast.Name):
            return target.value.id
    return ""


def _own_names(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Arguments and everything assigned inside: these hide the module's names."""
    names = {arg.arg for arg in ast.walk(function.args) if isinstance(arg, ast.arg)}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return names


def shapes(module: str, tree: ast.Module) -> Iterator[str]:
    """Every module says what it is for; no Manager, Context or mixin; nothing left undone."""
    if tree.body and ast.get_docstring(tree) is None:
        yield f"{module} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.lower().endswith(("manager", "context", "mixin")):
            yield f"{module}:{node.lineno} has a class {node.name}"
        if isinstance(node, ast.Raise) and node.exc is not None and "NotImplementedError" in ast.unparse(node.exc):
            yield f"{module}:{node.lineno} raises NotImplementedError"


RULES: tuple[Rule, ...] = (directions, fences, banned_calls, banned_handlers, state, shapes)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_holds_everywhere(rule: Rule) -> None:
    complaints = [complaint for module, tree in modules().items() for complaint in rule(module, tree)]
    assert complaints == []


def test_no_module_grows_unnoticed() -> None:
    lines = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / "toolkit").rglob("*.py")
    }
    long = {path for path, count in lines.items() if count > LINES}
    assert long - set(LONG) == set(), f"more than {LINES} lines: split it, or list it in LONG with the reason"
    short = {path for path in LONG if lines.get(path, 0) < LINES - 40}  # a few lines up and down are no news
    assert short == set(), "no longer that long: take it off LONG"


def test_only_wiring_names_all_families() -> None:
    """A second place that knows every family would be a second wiring."""
    for module, tree in modules().items():
        known = {name.split(".")[1] for name, _ in imports(tree) if layer(name) in ("family", "driver")} & set(FAMILIES)
        if len(known) == len(FAMILIES):
            assert module == "toolkit.wiring"


# -- verdict tables


def tables() -> list[str]:
    return [name for name in FAMILIES if (ROOT / "toolkit" / name / "verdicts.yaml").exists()]


def missing_test(reference: str) -> str:
    """Return why a test reference (path::name) leads nowhere, or an empty text."""
    path, _, name = reference.partition("::")
    file = ROOT / path
    if not path.startswith("tests/") or not file.is_file():
        return f"{reference}: there is no such file"
    wanted = name.split("[")[0].split("::")[-1]  # a method of a contract suite is named without its class
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == wanted:
            return ""
    return f"{reference}: there is no {wanted or 'test'} in {path}"


def test_every_family_has_a_verdict_table() -> None:
    assert tables() == list(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_verdict_row_has_its_test(family: str) -> None:
    rows = verdicts.load(f"toolkit.{family}")
    assert rows
    assert [why for row in rows if (why := missing_test(row.test))] == []
    for row in rows:
        assert row.reason, f"{row.feature}: no reason"
        assert row.instead or row.outcome not in ("degraded", "blocked"), f"{row.feature}: what could be done instead?"


# -- promises


def test_every_promise_has_a_test_with_its_number() -> None:
    names = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    for promise in PROMISES:
        assert any(name.startswith(f"test_{promise.lower()}_") for name in names), promise


# -- the rules can fail


@pytest.mark.parametrize(
    ("rule", "module", "source", "complaint"),
    [
        (directions, "toolkit.plan", "from toolkit.dns.family import DnsFamily", "(stage) imports toolkit.dns"),
        (directions, "toolkit.plan", "def f():\n    import toolkit.wiring", "(wiring)"),
        (directions, "toolkit.dns.family", "from toolkit.storage import model", "(family) imports toolkit.storage"),
        (directions, "toolkit.dns.family", "from toolkit.plan import plan", "(family) imports toolkit.plan"),
        (directions, "toolkit.dns.family", "from toolkit.dns.drivers.route53 import X", "wiring picks drivers"),
        (directions, "toolkit.dns.drivers.x", "from toolkit.dns.family import X", ""),
        (directions, "toolkit.dns.drivers.x", "from toolkit.storage.drivers import s3", "(driver) imports"),
        (directions, "toolkit.model", "from toolkit import journal", "(core) imports toolkit.journal (stage)"),
        (directions, "toolkit.report.html", "from toolkit import wiring", "(report) imports"),
        (directions, "toolkit.rehearsal.x", "from toolkit.cli import main", "(rehearsal) imports"),
        (directions, "toolkit.cli.x", "from toolkit.storage.family import StorageFamily", "(cli) imports"),
        (directions, "toolkit.cli.x", "from . import main", "relatively"),
        (directions, "toolkit.cli.x", "from toolkit import wiring", ""),
        (directions, "toolkit.cli.x", "from toolkit.exitplan import judge", ""),
        (directions, "toolkit.exitplan.x", "from toolkit.plan import plan", ""),
        (directions, "toolkit.exitplan.x", "from toolkit.storage import verify", "(exitplan) imports"),
        (directions, "toolkit.exitplan.x", "from toolkit import wiring", "(exitplan) imports"),
        (directions, "toolkit.prove", "from toolkit.exitplan import judge", "(stage) imports"),
        (directions, "toolkit.report.x", "from toolkit.exitplan import judge", "(report) imports"),
        (fences, "toolkit.dns.family", "import boto3", "imports boto3"),
        (fences, "toolkit.dns.drivers.route53", "import boto3", ""),
        (fences, "toolkit.storage.family", "import dns.name", "imports dns"),
        (fences, "toolkit.plan", "def f():\n    from rich.console import Console", "imports rich"),
        (fences, "toolkit.dns.family", "import httpx", "kept to nobody"),
        (banned_calls, "toolkit.x", "run(argv, shell=True)", "shell=True"),
        (banned_calls, "toolkit.x", "run(argv, shell=False)", ""),
        (banned_calls, "toolkit.x", "boto3.client('s3', verify=False)", "verify=False"),
        (banned_calls, "toolkit.x", "yaml.load(text)", "yaml.load"),
        (banned_calls, "toolkit.x", "YAML(typ='unsafe')", "unsafely"),
        (banned_calls, "toolkit.x", "pickle.loads(data)", "pickle.loads"),
        (banned_calls, "toolkit.x", "tar.extractall(path)", "extractall"),
        (banned_calls, "toolkit.x", "print(1)", "prints"),
        (banned_calls, "toolkit.cli.x", "print(1)", ""),
        (banned_handlers, "toolkit.x", "try:\n    f()\nexcept OSError:\n    pass", "swallows"),
        (banned_handlers, "toolkit.x", "try:\n    f()\nexcept OSError:\n    ...", "swallows"),
        (banned_handlers, "toolkit.x", "try:\n    f()\nexcept:\n    raise", "without naming"),
        (banned_handlers, "toolkit.x", "try:\n    f()\nexcept OSError as exc:\n    raise X from exc", ""),
        (state, "toolkit.x", "SEEN = []\ndef f(x):\n    SEEN.append(x)", "changes the module-level SEEN"),
        (state, "toolkit.x", "CACHE: dict = {}\ndef f(x):\n    CACHE[x] = 1", "changes the module-level CACHE"),
        (state, "toolkit.x", "n = 0\ndef f():\n    global n\n    n += 1", "global n"),
        (state, "toolkit.x", "ROWS = [1]\ndef f(ROWS):\n    ROWS.append(2)", ""),
        (state, "toolkit.x", "ROWS = [1]\ndef f():\n    return ROWS[0]", ""),
        (shapes, "toolkit.x", "import os", "no docstring"),
        (shapes, "toolkit.x", "'''Doc.'''\nclass CopyManager: ...", "CopyManager"),
        (shapes, "toolkit.x", "'''Doc.'''\ndef f():\n    raise NotImplementedError", "NotImplementedError"),
    ],
)
def test_a_planted_breach_is_found(rule: Rule, module: str, source: str, complaint: str) -> None:
    found = list(rule(module, ast.parse(source)))
    if complaint:
        assert any(complaint in text for text in found), found
    else:
        assert found == []


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("tests/test_architecture.py::test_no_module_grows_unnoticed", ""),
        ("tests/test_architecture.py::test_every_verdict_row_has_its_test[dns]", ""),
        ("tests/test_architecture.py::test_of_nothing", "there is no test_of_nothing"),
        ("tests/nowhere.py::test_of_nothing", "there is no such file"),
        ("tests/test_architecture.py", "there is no test in"),
        ("", "there is no such file"),
    ],
)
def test_a_missing_test_is_found(reference: str, why: str) -> None:
    found = missing_test(reference)
    assert why in found
    assert bool(why) == bool(found)
