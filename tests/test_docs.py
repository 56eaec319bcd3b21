"""The documentation, held to the code: verbs, options, exit codes, links, the fidelity page, the locks."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main

from toolkit import errors
from toolkit.cli.main import INTERNAL_ERROR, app
from toolkit.report.fidelity import page, tables

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
VERB_PAGES = {path.stem: path for path in (DOCS / "verbs").glob("*.md") if path.stem != "README"}
#: Options that a page may name because they are planned; each must stand in a paragraph that says so.
PLANNED = re.compile(r"^Planned: .*?(?=\n\n|\Z)", re.MULTILINE | re.DOTALL)


@cache
def verbs() -> dict[str, Any]:
    """The commands of the real command line."""
    return below(typer.main.get_command(app))


def below(command: Any) -> dict[str, Any]:
    """The commands of a group, none for a plain command."""
    return dict(getattr(command, "commands", {}))


def options(command: Any) -> set[str]:
    """All long options of a verb and of the verbs below it."""
    found = {name for param in command.params for name in param.opts if name.startswith("--")}
    return found.union(*(options(inner) for inner in below(command).values()))


# -- verbs


def test_every_verb_has_a_page_and_every_page_a_verb() -> None:
    assert set(VERB_PAGES) == set(verbs())


@pytest.mark.parametrize("verb", sorted(VERB_PAGES))
def test_the_page_names_every_option_and_no_other(verb: str) -> None:
    text = VERB_PAGES[verb].read_text("utf-8")
    text, known = PLANNED.sub("", text), options(verbs()[verb])
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    elsewhere = set().union(*(options(command) for command in verbs().values()))
    assert known - named - {"--help"} == set(), "these options are not on the page"
    assert named - elsewhere == set(), "these options exist nowhere"


@pytest.mark.parametrize("verb", sorted(VERB_PAGES))
def test_every_verb_and_option_has_help(verb: str) -> None:
    def check(command: Any, name: str) -> None:
        assert command.help, name
        for param in command.params:
            assert getattr(param, "help", ""), f"{name} {param.opts}"
        for inner_name, inner in below(command).items():
            check(inner, f"{name} {inner_name}")

    check(verbs()[verb], verb)


def test_the_index_of_verbs_is_complete() -> None:
    text = (DOCS / "verbs" / "README.md").read_text("utf-8")
    for verb in verbs():
        assert f"[{verb}]({verb}.md)" in text


def commands(text: str) -> Iterator[list[str]]:
    """Yield every ``rehost …`` that a page tells people to type."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    typed = [line for block in blocks for line in re.findall(r"^(?:\.venv/bin/)?rehost (.+)$", block, re.MULTILINE)]
    for line in typed + re.findall(r"(?<!`)`rehost ([^`\n]+)`", text):
        for part in re.split(r"&& rehost |\|\|?|;", line.split("#")[0]):
            yield part.split()


def wrong_command(words: list[str]) -> str:
    """Say what is wrong with a command that a page names, or nothing."""
    words = [word for word in words if word not in ("-v", "--no-color")]
    if not words or words[0].startswith("-"):
        return ""
    command = verbs().get(words[0])
    if command is None:
        return f"there is no verb {words[0]}"
    given = {word.split("=")[0] for word in words if word.startswith("--") and len(word) > 2}
    wrong = given - options(command) - {"--help"}
    return f"rehost {words[0]} has no {', '.join(sorted(wrong))}" if wrong else ""


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_that_pages_name_exist(path: Path) -> None:
    text = PLANNED.sub("", path.read_text("utf-8"))
    assert [why for words in commands(text) if (why := wrong_command(words))] == []


def test_a_wrong_command_would_be_found() -> None:
    assert wrong_command(["frobnicate", "--yes"]) == "there is no verb frobnicate"
    assert wrong_command(["apply", "--frobnicate", "--yes"]) == "rehost apply has no --frobnicate"
    page_text = "rehost moves\n```\nrehost apply --yes  # now\nrehost plan && rehost verify\n```\nrun `rehost prove`\n"
    assert list(commands(page_text)) == [["apply", "--yes"], ["plan"], ["verify"], ["prove"]]


# -- exit codes


def rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the first table below a heading, header and rule left out."""
    lines = text.split(heading, 1)[1].splitlines()
    table = [line for line in lines if line.startswith("|")]
    width = next((i for i, line in enumerate(lines) if line.startswith("|")), 0)
    end = next((i for i in range(width, len(lines)) if not lines[i].startswith("|")), len(lines))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[: end - width][2:]]


CODES = (DOCS / "reference" / "exit-codes.md").read_text("utf-8")


def test_every_code_of_the_error_tree_is_explained() -> None:
    documented = {row[0] for row in rows(CODES, "# Exit codes")}
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.RehostError)]
    assert documented == {str(c.code) for c in classes} | {"0", str(INTERNAL_ERROR), "128+N"}


def test_the_table_of_verbs_and_codes_is_what_the_commands_do() -> None:
    table = {row[0]: row[1:] for row in rows(CODES, "## Which verb can end with which")}
    assert set(table) == set(verbs())
    for verb, (one, refused, locked, *_) in table.items():
        source = (ROOT / "toolkit" / "cli" / f"{verb}_cmd.py").read_text("utf-8")
        tree = ast.parse(source)
        ends = [ast.unparse(node.args[0]) for node in calls(tree, "typer.Exit") if node.args]
        assert bool(one) == any(end != "0" for end in ends), f"{verb}: exit 1"
        asks = bool(list(calls(tree, "consent")))
        assert not asks or "nobody to ask" in refused, f"{verb}: exit 20"
        takes_lock = bool(list(calls(tree, "locked")))
        assert not takes_lock or locked == "locked", f"{verb}: exit 30"
        assert ("nobody to ask" in refused) <= asks, f"{verb}: asks nobody"


def calls(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield node


# -- the journal's format


def test_every_kind_of_event_is_documented() -> None:
    text = (DOCS / "journal-format.md").read_text("utf-8")
    for path in (ROOT / "toolkit").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("journal.event"):
                kind = ast.literal_eval(node.args[0])
                assert f"`{kind}`" in text, f"{path.name} writes the event {kind}"


# -- generated pages, links, targets


def test_the_fidelity_page_is_fresh() -> None:
    assert (DOCS / "reference" / "fidelity.md").read_text("utf-8") == page(tables()), "run: make fidelity"


def links(path: Path) -> set[Path]:
    """The files that a page links to."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    return {(path.parent / target).resolve() for target in targets if "://" not in target}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_internal_links_resolve(path: Path) -> None:
    assert [target for target in links(path) if not target.exists()] == []


def test_every_page_is_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = {ROOT / "README.md"}
    while waiting:
        page_ = waiting.pop()
        seen.add(page_)
        waiting |= {target for target in links(page_) if target.suffix == ".md"} - seen
    assert {str(path.relative_to(ROOT)) for path in PAGES} - {str(path.relative_to(ROOT)) for path in seen} <= {
        "CHANGELOG.md"
    }


def test_make_targets_that_pages_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for path in PAGES:
        for name in re.findall(r"(?:^|`)(?:[A-Z]+=\S+ )?make ([a-z]+)", path.read_text("utf-8"), re.MULTILINE):
            assert name in targets, f"{path.name}: make {name}"


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))


# -- what no file may hold


def tracked() -> list[Path]:
    """Every file of the project: what git knows, or, without git, what lies outside hidden folders."""
    if (ROOT / ".git").exists():
        listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
        return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    skipped = (".venv", ".rehost", ".mypy_cache", ".ruff_cache", ".pytest_cache", "__pycache__")
    return [path for path in ROOT.rglob("*") if path.is_file() and not set(skipped) & set(path.parts)]


#: Written so that this file does not hold what it looks for.
FOREIGN = re.compile(
    r"(?<![\w.])(?:/w[o]rk/(?:main|shared)|/tmp/v[e]nv|/ro[o]t/\.|/opt/w[h]eels|/opt/p[y]pi|/h[o]me/[a-z]+/[a-z])"
    r"|p[y]pi\.org|pythonh[o]sted\.org|test\.p[y]pi|d[o]cker\.io|registry\.n[p]mjs|gh[c]r\.io"
)


def test_no_path_of_a_machine_and_no_registry_in_any_file() -> None:
    found = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", "replace")
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in FOREIGN.finditer(text)]
    assert found == []


def test_a_path_of_a_machine_would_be_found() -> None:
    for text in ("see /wo" + "rk/main/x", "index pypi" + ".org/simple", "/ho" + "me/maria/x"):
        assert FOREIGN.search(text), text


# -- locks and CI


def test_every_dependency_is_locked_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"], "hatchling", "editables"]
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pinned = dict(re.findall(r"^([a-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", lock, re.MULTILINE))
    for requirement in wanted:
        name = re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace(".", "-").replace("_", "-")
        assert name in pinned, f"{name} is not in requirements.lock: run make lock"
    entries = re.findall(r"^[a-z0-9._-]+(?:\[[^\]]*\])?==.*?(?=^[a-z0-9]|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in lock


def test_the_lab_lock_pins_what_pyproject_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    lock = (ROOT / "requirements-lab.lock").read_text("utf-8")
    for requirement in project["optional-dependencies"]["lab"]:
        assert requirement in lock


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert text.rstrip().endswith("exec make test")
