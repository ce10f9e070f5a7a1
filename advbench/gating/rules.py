"""What a gate asks for: `[gate]` of advbench.toml, `[tool.advbench.gate]` of pyproject.toml, or flags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, WithJsonSchema, model_validator

from advbench.core import names, renamed
from advbench.core.errors import UsageError
from advbench.core.spec import Epsilon
from advbench.gating.verdict import Kind

BASELINE_IMAGES = 1000  # that a baseline holds unless told otherwise


def accuracy(value: object) -> Fraction:
    """`"40%"` or 0.4 -> 2/5, exactly as typed.

    Raises
    ------
    ValueError
        For anything that could be read in two ways, like 40 or 1.
    """
    text = repr(value) if isinstance(value, float) else str(value).strip()[:40]
    if found := re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) *%", text):
        share = Fraction(found[1]) / 100
        if share > 1:
            raise ValueError(f"{text} is more than 100%")
        return share
    if text == "0" or re.fullmatch(r"0?\.\d{1,20}", text):
        return Fraction(text)
    plain = text if re.fullmatch(r"[\d.]{1,9}", text) else "40"
    raise ValueError(f'{text} is not clearly an accuracy; write it as a percentage, "{plain}%", or as a fraction, 0.4')


def _eps(value: object) -> str:
    """As typed; TOML's numbers count as typed."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write eps like "8/255" or 0.3')
    try:
        return Epsilon.parse(str(value)[:40]).text
    except UsageError as error:
        raise ValueError(str(error)) from None


def _norm(value: object) -> object:
    """The norm that is plainly meant; what is none is left to be refused."""
    try:
        return names.found("norm", value, NORMS) if isinstance(value, str) else value
    except UsageError:
        return value


NORMS = ("linf", "l2", "l1", "l0", "any")
_PERCENT = {"type": "string", "pattern": r"^\d+(\.\d+)? *%$"}
_FRACTION = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
_EPS = {"anyOf": [{"type": "string"}, {"type": "number", "minimum": 0}]}

Accuracy = Annotated[Fraction, PlainValidator(accuracy), WithJsonSchema({"anyOf": [_PERCENT, _FRACTION]})]
Eps = Annotated[str, BeforeValidator(_eps), WithJsonSchema(_EPS)]
Attacks = Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Positive = Annotated[int, Field(ge=1)]


class _Table(BaseModel):
    """Base of every table: unknown keys are refused, nothing is converted silently, keys are in kebab-case."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=lambda name: name.replace("_", "-")
    )

    @classmethod
    def keys(cls) -> list[str]:
        """The keys that this table may have."""
        return [str(field.alias) for field in cls.model_fields.values()]


class ThreatRules(_Table):
    """`[[gate.threats]]`: what is asked for under one threat."""

    norm: Annotated[
        Literal["linf", "l2", "l1", "l0", "any"] | None,
        BeforeValidator(_norm),
        Field(description="By default what the model is for."),
    ] = None
    eps: Annotated[Eps | None, Field(description="White being 1; by default what the model is for.")] = None
    min_robust: Annotated[Accuracy | None, Field(description="Robust accuracy, at least.")] = None
    max_drop: Annotated[Accuracy | None, Field(description="Robust accuracy lost against the baseline, at most.")] = (
        None
    )
    min_class: Annotated[dict[str, Accuracy], Field(description="Robust accuracy of named classes, at least.")] = {}
    min_worst_class: Annotated[
        Accuracy | None, Field(description="Robust accuracy of the class that has the least, at least.")
    ] = None
    attacks: Annotated[Attacks | None, Field(description="Instead of the gate's.")] = None

    def __str__(self) -> str:
        return f"{self.norm or 'the norm'} {self.eps or 'eps'}"


class GateRules(_Table):
    """`[gate]`: which model, which images, how sure, and what is asked for."""

    model: Annotated[str | None, Field(description="As for `advbench attack`.")] = None
    data: Annotated[str | None, Field(description="Data set; by default the model's own.")] = None
    weights: Annotated[
        str | None, Field(description="File put into the PyTorch or Keras model that file.py:factory makes.")
    ] = None
    expect_clean: Annotated[
        str | float | None, Field(description="Clean accuracy that the model is known to have.")
    ] = None
    input_layout: Annotated[str | None, Field(description="Order of axes the model was made for, like nchw.")] = None
    mean: Annotated[str | None, Field(description="Subtracted from pixels in [0, 1] first, one for all or a list.")] = (
        None
    )
    std: Annotated[str | None, Field(description="What pixels are then divided by, likewise.")] = None
    logits: Annotated[str | None, Field(description="Output that holds the logits, where the model has several.")] = (
        None
    )
    allow_extra_outputs: Annotated[
        bool, Field(description="The model may have more outputs than there are classes.")
    ] = False
    resize: Annotated[Positive | None, Field(description="Of image files: pixels of the shorter side.")] = None
    crop: Annotated[Positive | None, Field(description="Of image files: pixels of the square in the middle.")] = None
    interpolation: Annotated[str | None, Field(description="Pillow's filter for resizing.")] = None
    classes: Annotated[str | None, Field(description="File of class names, one a line, label 0 first.")] = None
    transparent: Annotated[str | None, Field(description="Of transparent images: keep, black or white.")] = None
    skip_corrupt: Annotated[bool, Field(description="Leave out images that can't be read.")] = False
    n: Annotated[Positive | None, Field(description="The first n test images; by default all that are here.")] = None
    indices: Annotated[
        str | None, Field(description="Test images by number, like 0-99,500, or a file of such, instead of n.")
    ] = None
    seed: Annotated[Seed, Field(description="Fixes the order of images, and every random start.")] = 0
    batch_size: Annotated[Positive, Field(description="Images looked at between two looks, at least.")] = 64
    error_rate: Annotated[
        float, Field(gt=0, le=0.5, description="Probability, at most, that a verdict is wrong, over all rules.")
    ] = 0.05
    attacks: Annotated[Attacks | None, Field(description="By default those of `advbench attack`.")] = None
    input_defense: Annotated[Attacks | None, Field(description="Defenses at inference.")] = None
    adaptive: Annotated[bool, Field(description="Attacks know the input defenses.")] = True
    eot_samples: Annotated[
        Positive | None, Field(description="Draws averaged in each pass, for a randomised model.")
    ] = None
    preflight: Annotated[
        Literal["none", "fast", "full"], Field(description="Depth of the check for masked gradients.")
    ] = "fast"
    time_limit: Annotated[str | None, Field(description="Time after which the gate is inconclusive, like 5m.")] = None
    query_limit: Annotated[Positive | None, Field(description="Images sent to a model behind a URL, at most.")] = None
    allow_flags: Annotated[
        tuple[str, ...], Field(strict=False, description="Findings that do not make the gate invalid.")
    ] = ()
    baseline: Annotated[str | None, Field(description="File that --update-baseline wrote.")] = None
    baseline_images: Annotated[Positive, Field(description="Images of a new baseline.")] = BASELINE_IMAGES
    min_clean: Annotated[Accuracy | None, Field(description="Clean accuracy, at least.")] = None
    max_drop: Annotated[Accuracy | None, Field(description="For every threat that has none of its own.")] = None
    threats: Annotated[tuple[ThreatRules, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    def drop(self, threat: ThreatRules) -> Fraction | None:
        """The largest drop under a threat: its own, else that of the whole gate."""
        return self.max_drop if threat.max_drop is None else threat.max_drop


class Configuration(_Table):
    """A whole `advbench.toml`, or `[tool.advbench]` of pyproject.toml."""

    gate: GateRules


@dataclass(frozen=True)
class Rule:
    """One thing asked for; `at` leads to where it is written, from the table of the gate on."""

    kind: Kind
    threshold: Fraction
    threat: int | None = None  # which one of the gate's
    class_name: str | None = None
    at: tuple[str | int, ...] = ()


def rules_of(gate: GateRules) -> list[Rule]:
    """All rules of a gate, in the order in which they are reported."""
    found = [] if gate.min_clean is None else [Rule("min_clean", gate.min_clean, at=("min-clean",))]
    for number, threat in enumerate(gate.threats):
        at = ("threats", number)
        if threat.min_robust is not None:
            found.append(Rule("min_robust", threat.min_robust, number, at=(*at, "min-robust")))
        if (drop := gate.drop(threat)) is not None:
            place = ("max-drop",) if threat.max_drop is None else (*at, "max-drop")
            found.append(Rule("max_drop", drop, number, at=place))
        for name, least in threat.min_class.items():
            found.append(Rule("min_class", least, number, name, (*at, "min-class", name)))
        if threat.min_worst_class is not None:
            found.append(Rule("min_worst_class", threat.min_worst_class, number, at=(*at, "min-worst-class")))
    return found


def _contradictions(gate: GateRules) -> Iterator[str]:
    """What can't be meant, each in one line."""
    if gate.n is not None and gate.indices is not None:
        yield "give n or indices, not both"
    drops = [gate.max_drop, *(threat.max_drop for threat in gate.threats)]
    if any(drop is not None for drop in drops) and gate.baseline is None:
        yield "max-drop needs a baseline: the file that advbench gate --update-baseline writes"
    if gate.max_drop is not None and not gate.threats:
        yield "max-drop is about robust accuracy: add a [[gate.threats]]"
    known: list[tuple[ThreatRules, Fraction | None]] = []
    for threat in gate.threats:
        eps = None if threat.eps is None else names.number(threat.eps)
        for other, its in known:
            yield from _pair(threat, eps, other, its)
        known.append((threat, eps))
        if gate.min_clean is not None and threat.min_robust is not None and gate.min_clean < threat.min_robust:
            yield "min-clean is less than a min-robust, which no model's clean accuracy can fall below: raise it"
        for name, least in threat.min_class.items():
            if threat.min_worst_class is not None and least <= threat.min_worst_class:
                yield f"min-class {name} asks for no more than min-worst-class does for every class: leave it out"


def _pair(one: ThreatRules, eps: Fraction | None, other: ThreatRules, its: Fraction | None) -> Iterator[str]:
    if one.norm != other.norm:
        return
    if eps == its:
        yield f"{one} is there twice: write all its rules in one [[gate.threats]]"
        return
    if eps is None or its is None:
        return
    small, large = (one, other) if eps < its else (other, one)
    if small.min_robust is not None and large.min_robust is not None and small.min_robust < large.min_robust:
        yield f"min-robust at {small} is less than at the larger eps of {large}: were they swapped?"


def json_schema() -> dict[str, Any]:
    """JSON Schema of `advbench.toml`, and of `[tool.advbench]` in pyproject.toml; for editors."""
    schema = Configuration.model_json_schema(by_alias=True)
    keys = schema["$defs"]["GateRules"]["properties"]
    for old, new in renamed.KEYS.items():
        if new in keys:
            shape = {name: value for name, value in keys[new].items() if name not in ("default", "title")}
            keys[old] = {**shape, "deprecated": True, "description": f"Former name of {new}."}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "advbench configuration"}
