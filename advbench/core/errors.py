"""Errors, each with the exit code that the command line promises.

0 pass; 1 the gate failed; 2 usage, configuration, or not comparable; 3 invalid evaluation; 4 data or target
unavailable; 5 inconclusive; 130/143 interrupted after saving.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError


class AdvbenchError(Exception):
    """Base of all errors: one line on what is wrong and what to do; the command line exits with `exit_code`."""

    exit_code = 2


class UsageError(AdvbenchError):
    """A wrong argument, setting or file, or two things that can't be compared."""

    exit_code = 2


class InvalidEvaluation(AdvbenchError):
    """The numbers can't be trusted: non-finite outputs, a failed self-test, a claim that does not verify."""

    exit_code = 3


class DataUnavailable(AdvbenchError):
    """Data or a target could not be obtained."""

    exit_code = 4


class TargetUnavailable(DataUnavailable):
    """A remote target failed, can't be understood, or answers differently than before."""


class Inconclusive(AdvbenchError):
    """The time limit or query limit ended before any conclusion."""

    exit_code = 5


class QueriesSpent(Inconclusive):
    """The query limit of a target is reached."""


class Interrupted(AdvbenchError):
    """Stopped by a signal after the state was saved; `signal` is 2 (Ctrl-C) or 15 (SIGTERM)."""

    def __init__(self, message: str, signal: int):
        super().__init__(message)
        self.exit_code = 128 + signal


NEAREST = 3  # names suggested for one that is not known
LONG = 240  # characters of all names, beyond which only the nearest are listed
LISTS: Final = {
    "attack": "attacks",
    "data set": "datasets",
    "defense": "defenses",
    "input defense": "input-defenses",
    "model": "models",
    "network": "networks",
}
"""Kinds of names that a command lists, and the word that it takes."""


def unknown(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for an unknown name, with the nearest known ones instead of a long list.

    Parameters
    ----------
    kind : str
        Kind of the thing named, like "attack".
    name : str
        Name as typed.
    known : Iterable[str]
        Names that exist.

    Returns
    -------
    UsageError
        With the nearest names, and the rest of them: in full if they are few, else by the command that lists them.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=NEAREST)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    there = ", ".join(names)
    if kind in LISTS:
        there = f"all names: advbench list {LISTS[kind]}"
    elif len(there) > LONG:
        few = ", ".join(difflib.get_close_matches(name, names, n=NEAREST, cutoff=0.0))
        there = f"the nearest of {len(names)}: {few}"
    else:
        there = f"there are: {there}"
    return UsageError(f"unknown {kind} {name!r}{hint} ({there})")


def first_fault(error: "ValidationError") -> str:
    """Describe the first place where a file breaks its schema, in one line.

    Parameters
    ----------
    error : ValidationError
        Error of pydantic.

    Returns
    -------
    str
        Path within the file, and the fault.
    """
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


class CorruptFile(UsageError):
    """A model file that is damaged, foreign, or differs from its manifest."""
