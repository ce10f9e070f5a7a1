"""Checks that could not be made: each is named with its reason, since silence would read as a pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from advbench.core.flag import Flag

NAME: Final = "checks_not_made"


class NotMade(NamedTuple):
    """Checks, by the names of their flags, and why none of them was made."""

    checks: tuple[str, ...]
    why: str


Finding = Flag | NotMade | None
"""What a check ends with; None where all is well."""


def flags_of(findings: Iterable[Finding]) -> list[Flag]:
    """The flags that were raised, and one note on all checks that were not made, if there are such."""
    found = [finding for finding in findings if finding is not None]
    skipped = [finding for finding in found if isinstance(finding, NotMade)]
    flags = [finding for finding in found if isinstance(finding, Flag)]
    if not skipped:
        return flags
    evidence = {"checks": {check: each.why for each in skipped for check in each.checks}}
    told = "; ".join(f"{', '.join(each.checks)} ({each.why})" for each in skipped)
    return [*flags, Flag(name=NAME, level="note", evidence=evidence, message=f"not made: {told}")]


def not_made(flags: Iterable[Flag]) -> dict[str, str]:
    """Why checks were not made, by the names of their flags."""
    return {check: why for flag in flags if flag.name == NAME for check, why in flag.evidence["checks"].items()}
