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
"""By file name: the object, and the version that its `schema_version` has."""


def schema(name: str) -> str:
    """JSON Schema 2020-12 of what `to_json` of the object writes."""
    model, version = SCHEMAS[name]
    described = model.model_json_schema(mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:advbench:{name.partition('.')[0]}:{version}",
    }
    return json.dumps({**head, **described}, indent=1, ensure_ascii=False) + "\n"
