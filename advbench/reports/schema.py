"""JSON Schemas of what is written, as published in `docs/`."""

from __future__ import annotations

import json

from advbench.core.flag import Record
from advbench.evaluation.result import SCHEMA_VERSION, Result
from advbench.gating.verdict import GATE_SCHEMA_VERSION, Gate

SCHEMAS: dict[str, tuple[type[Record], int]] = {
    "result.schema.json": (Result, SCHEMA_VERSION),
    "gate.schema.json": (Gate, GATE_SCHEMA_VERSION),
}
"""Object and schema version, by file name."""


def schema(name: str) -> str:
    """Return the JSON Schema 2020-12 of the files that `to_json` of an object writes."""
    model, version = SCHEMAS[name]
    described = model.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:advbench:{name.partition('.')[0]}:{version}",
    }
    return json.dumps({**head, **described}, indent=1, ensure_ascii=False) + "\n"
