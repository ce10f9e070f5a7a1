"""Checks that could not be made: each is reported with its reason, since silence would read as a pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from advbench.core.flag import Flag

NAME: Final = "checks_not_made"


class NotMade(NamedTuple):
    """Checks that were not made, by the names of their flags, and the reason."""

    checks: tuple[str, ...]
    why: str


Finding = Flag | NotMade | None
"""Outcome of a check; None means no finding."""


def flags_of(findings: Iterable[Finding]) -> list[Flag]:
    """Collect the flags raised, with one note that names all checks not made, if there are any.

    Parameters
    ----------
    findings : iterable of Flag, NotMade or None
        Outcomes of checks.

    Returns
    -------
    list of Flag
        The flags, then the note `checks_not_made` if it is needed.
    """
    found = [finding for finding in findings if finding is not None]
    skipped = [finding for finding in found if isinstance(finding, NotMade)]
    flags = [finding for finding in found if isinstance(finding, Flag)]
    if not skipped:
        return flags
    evidence = {"checks": {check: each.why for each in skipped for check in each.checks}}
    named = "; ".join(f"{', '.join(each.checks)} ({each.why})" for each in skipped)
    return [*flags, Flag(name=NAME, level="note", evidence=evidence, message=f"checks not made: {named}")]


def not_made(flags: Iterable[Flag]) -> dict[str, str]:
    """Return the reasons of checks that were not made, by the names of their flags."""
    return {check: why for flag in flags if flag.name == NAME for check, why in flag.evidence["checks"].items()}
