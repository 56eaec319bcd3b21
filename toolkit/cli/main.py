"""The command ``rehost``: one file a verb, all thin. Errors become a text, a remedy and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from toolkit import guard
from toolkit.cli import (
    apply_cmd,
    assess_cmd,
    audit_cmd,
    copy_cmd,
    cutover_cmd,
    discover_cmd,
    doctor_cmd,
    exit_cmd,
    lab_cmd,
    plan_cmd,
    prove_cmd,
    rehearse_cmd,
    report_cmd,
    rewrite_cmd,
    rollback_cmd,
    status_cmd,
    verify_cmd,
)
from toolkit.cli.common import complain
from toolkit.errors import RehostError
from toolkit.secrets import Redacting

WELCOME = """Move a social app's object storage, DNS and compute to another host, and prove the result.

[bold]definitions in → plan → apply (journalled) → verify → cut over → prove[/bold]

New here? Rehearse the whole move on this machine, touching no cloud:

    rehost rehearse

Your own site, step by step:

    rehost discover -p aws      read your account into site.yaml, then edit it
    rehost doctor               can I start?
    rehost assess               what would change meaning?
    rehost plan                 what would be done?
    rehost apply                do it; stop and run it again at any time
    rehost verify               is the copy equal?
    rehost cutover traffic      freeze, last differences, point the names
    rehost cutover dns          delegate the zone to the new name servers
    rehost prove                does it live alone?
    rehost exit check           could we leave, and in time?

Each verb has --help. Nothing is ever deleted at the source.
"""

INTERNAL_ERROR = 70
#: Options of ``rehost`` itself that people type behind the verb as well.
EVERYWHERE = frozenset({"-v", "--verbose", "--no-color"})
#: Typer brings a click of its own in some releases; the exceptions are reached through what it exports.
CommandLineError: Any = next(base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException")

app = typer.Typer(
    name="rehost",
    help=WELCOME,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
VERBS = (
    ("rehearse", rehearse_cmd.rehearse),
    ("discover", discover_cmd.discover),
    ("doctor", doctor_cmd.doctor),
    ("assess", assess_cmd.assess),
    ("plan", plan_cmd.plan),
    ("apply", apply_cmd.apply),
    ("verify", verify_cmd.verify),
    ("cutover", cutover_cmd.cutover),
    ("rollback", rollback_cmd.rollback),
    ("rewrite", rewrite_cmd.rewrite),
    ("prove", prove_cmd.prove),
    ("copy", copy_cmd.copy),
    ("status", status_cmd.status),
    ("report", report_cmd.report),
)
for name, verb in VERBS:
    app.command(name)(verb)
app.add_typer(lab_cmd.app, name="lab")
app.add_typer(audit_cmd.app, name="audit")
app.add_typer(exit_cmd.app, name="exit")


def show_version(wanted: bool) -> None:
    """Print the version and leave."""
    if wanted:
        typer.echo(f"rehost {version('rehost')}")
        raise typer.Exit


@app.callback()
def options(
    _version: bool = typer.Option(
        False, "-V", "--version", callback=show_version, is_eager=True, help="Print the version and leave."
    ),
    verbose: bool = typer.Option(False, "-v", "--verbose", help="Tell more on stderr."),
    no_color: bool = typer.Option(False, "--no-color", help="No colours (NO_COLOR works too)."),
) -> None:
    if no_color:
        os.environ["NO_COLOR"] = "1"
    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(Redacting())


def hoisted(argv: Sequence[str]) -> list[str]:
    """Return the command line with the options of ``rehost`` itself in front, wherever they were typed."""
    stop = argv.index("--") if "--" in argv else len(argv)
    ours = [word for word in argv[:stop] if word in EVERYWHERE]
    return [*ours, *(word for word in argv[:stop] if word not in EVERYWHERE), *argv[stop:]]


def run() -> None:
    """Entry point: leave with the exit code that the outcome means; no traceback reaches a user."""
    signal.signal(signal.SIGTERM, _terminated)
    argv = hoisted(sys.argv[1:])
    try:
        guard.install_from_environment()
        code = app(argv, standalone_mode=False)
    except typer.Exit as exc:
        code = exc.exit_code
    except CommandLineError as exc:
        # Typing nothing at all is a question, not a mistake: show the way and leave with 0.
        code = 0 if type(exc).__name__ == "NoArgsIsHelpError" else 2
        exc.show()
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("interrupted: what was done is in the journal, run the same command again to go on\n")
        code = 128 + signal.SIGINT
    except RehostError as exc:
        complain(exc, as_json="--json" in argv)
        code = exc.code
    except BrokenPipeError:
        # The reader of our output went away (``| head``): not an error, and nothing more can be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 128 + signal.SIGPIPE
    except Exception as exc:  # noqa: BLE001 - the last resort: no traceback reaches a user
        code = _internal(exc)
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    sys.stderr.write("terminated: what was done is in the journal, run the same command again to go on\n")
    sys.exit(128 + signal.SIGTERM)


def _internal(exc: Exception) -> int:
    """Keep the traceback of a defect in a file and tell where it is."""
    descriptor, name = tempfile.mkstemp(prefix="rehost-crash-", suffix=".log")
    with os.fdopen(descriptor, "w") as handle:
        handle.write("".join(traceback.format_exception(exc)))
    complain(
        RehostError(
            f"this is a defect of rehost: {type(exc).__name__}: {str(exc)[:300]}",
            f"the details are in {Path(name)}; the journal is safe, running the same command again is safe",
        )
    )
    return INTERNAL_ERROR
