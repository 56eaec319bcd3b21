"""One error tree, with the exit code each class means.

Everything rehost raises on purpose derives from :class:`RehostError`; the command line prints
``text`` and ``remedy`` and leaves with ``code``. Foreign exceptions (botocore, libcloud, dnspython,
sqlite3, OSError) are translated once, where they enter, ``from`` their cause.

    RehostError                 1
    ├── UsageError              2   the command line is wrong
    ├── DefinitionError         3   site.yaml (or another input file) is wrong; carries Problems
    ├── Paused                  5   waiting for a clock, or a side that stopped answering
    ├── NeedsHuman              7   a person must decide or act
    ├── AuthError              10   credentials missing, wrong or refused
    │   └── AccountClosed       7   the account is suspended: a person must ask the provider
    ├── NotFound               11   the named thing does not exist
    ├── Conflict               12   the thing exists and is not what we expected
    ├── Throttled              13   the other side asks us to slow down
    ├── Unsupported            14   a driver or target cannot express this
    ├── Unreachable            15   no answer from the other side
    ├── Refused                20   unsafe, stale, unapproved, clock skew, TLS, host key
    ├── JournalError           30   journal or run lock
    ├── ApplyError             40   a change did not take
    ├── VerifyError            50   a check inside apply, cutover or rehearse failed
    └── CutoverError           60   a cut-over step did not take
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class RehostError(Exception):
    """Root of the tree. ``text`` says what happened, ``remedy`` what to do about it."""

    code: ClassVar[int] = 1

    def __init__(self, text: str, remedy: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.remedy = remedy


class UsageError(RehostError):
    """The command line cannot be understood."""

    code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One located mistake in an input file."""

    file: str
    line: int
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}. {self.remedy}"


class DefinitionError(RehostError):
    """An input file is wrong. Carries every problem found, not only the first."""

    code = 3

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class Paused(RehostError):
    """Work stopped with its state kept; run the same command again later."""

    code = 5


class NeedsHuman(RehostError):
    """A person must decide or act before the run can go on."""

    code = 7


class AuthError(RehostError):
    """Credentials are missing, wrong, or refused by the provider."""

    code = 10


class AccountClosed(AuthError):
    """The account or user is suspended or closed: no other key will help, a person must ask."""

    code = 7


class NotFound(RehostError):
    """The named resource does not exist."""

    code = 11


class Conflict(RehostError):
    """The resource exists and is neither what was planned before nor after."""

    code = 12


class Throttled(RehostError):
    """The provider asks us to slow down and kept asking until the deadline."""

    code = 13


class Unsupported(RehostError):
    """The driver or the target cannot express what was asked."""

    code = 14


class Unreachable(RehostError):
    """The other side does not answer."""

    code = 15


class Refused(RehostError):
    """The action is unsafe, stale or unapproved, and was not started."""

    code = 20


class JournalError(RehostError):
    """The journal cannot be opened, is corrupt, or is locked by another run."""

    code = 30


class ApplyError(RehostError):
    """A change was tried and the world does not show it."""

    code = 40


class VerifyError(RehostError):
    """A verification inside apply, cutover or rehearse found a difference."""

    code = 50


class CutoverError(RehostError):
    """A cut-over step did not take."""

    code = 60
