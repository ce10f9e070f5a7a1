"""Findings on the validity of results."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all stored records: unknown fields, NaN and infinity are refused, instances are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def to_json(self) -> str:
        """Return the whole object as JSON, with a newline at the end.

        Returns
        -------
        str
            JSON text.
        """
        return self.model_dump_json(indent=1) + "\n"


class Flag(Record):
    """A finding on the validity of results; `invalid` changes the verdict."""

    name: str  # like "certified_yet_broken"
    level: Literal["note", "invalid"]
    evidence: dict[str, Any]  # numbers behind the finding
    message: str  # one line for people
