"""A finding that bears on whether numbers can be trusted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of every part: unknown fields, NaN and infinity are refused, nothing changes once made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)

    def to_json(self) -> str:
        """The whole object as JSON, ended by a newline."""
        return self.model_dump_json(indent=1) + "\n"


class Flag(Record):
    """Something that bears on whether the numbers can be trusted; `invalid` changes the verdict."""

    name: str
    level: Literal["note", "invalid"]
    evidence: dict[str, Any]
    message: str
