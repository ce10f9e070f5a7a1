"""What can go wrong, each with the exit code that the command line promises.

0 pass; 1 the gate failed; 2 usage, configuration, or not comparable; 3 invalid evaluation;
4 data or target unavailable; 5 inconclusive; 130/143 interrupted after saving.
"""

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydantic import ValidationError


class AdvbenchError(Exception):
    """One clear line on what is wrong and what to do; the command line prints it and exits with `exit_code`."""

    exit_code = 2


class UsageError(AdvbenchError):
    """A wrong argument, setting or file, or two things that can't be compared."""

    exit_code = 2


class InvalidEvaluation(AdvbenchError):
    """The numbers can't be trusted: non-finite outputs, a failed self-test, a claim that does not verify."""

    exit_code = 3


class DataUnavailable(AdvbenchError):
    """Data or a target could not be had."""

    exit_code = 4


class TargetUnavailable(DataUnavailable):
    """A target behind a network failed, can't be understood, or answers otherwise than before."""


class Inconclusive(AdvbenchError):
    """The budget ended before anything could be said."""

    exit_code = 5


class QueriesSpent(Inconclusive):
    """As many queries were asked of a target as were allowed."""


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
    """Make the error for a name that is not in a registry.

    Parameters
    ----------
    kind : str
        Kind of name, like "attack".
    name : str
        The name as given.
    known : iterable of str
        All names of the registry.

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
    """Where a file breaks its schema first, and how, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}"


class CorruptFile(UsageError):
    """A model file that is damaged, foreign, or not the one its manifest speaks of."""
