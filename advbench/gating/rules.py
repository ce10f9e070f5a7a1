"""Rules of a gate: `[gate]` of advbench.toml, `[tool.advbench.gate]` of pyproject.toml, or flags."""

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

BASELINE_IMAGES = 1000  # images of a new baseline, by default


def accuracy(value: object) -> Fraction:
    """Read an accuracy exactly: `"40%"` or 0.4 is 2/5.

    Parameters
    ----------
    value : object
        Percentage as text, or a fraction.

    Returns
    -------
    Fraction
        In [0, 1].

    Raises
    ------
    ValueError
        For anything ambiguous, like 40 or 1.

    Examples
    --------
    >>> accuracy("40%"), accuracy(0.4)
    (Fraction(2, 5), Fraction(2, 5))
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
    """Return eps as typed; numbers of TOML count as typed."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError('write eps like "8/255" or 0.3')
    try:
        return Epsilon.parse(str(value)[:40]).text
    except UsageError as error:
        raise ValueError(str(error)) from None


def _norm(value: object) -> object:
    """Return the norm that is meant; an unknown name is left for the schema to refuse."""
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
        """List the keys that this table may have."""
        return [str(field.alias) for field in cls.model_fields.values()]


class ThreatRules(_Table):
    """Table `[[gate.threats]]`: rules under one threat model."""

    norm: Annotated[
        Literal["linf", "l2", "l1", "l0", "any"] | None,
        BeforeValidator(_norm),
        Field(description="Norm; by default that of the model's threat model."),
    ] = None
    eps: Annotated[Eps | None, Field(description="Perturbation budget, white being 1; by default the model's.")] = None
    min_robust: Annotated[Accuracy | None, Field(description="Robust accuracy, at least.")] = None
    max_drop: Annotated[Accuracy | None, Field(description="Robust accuracy lost against the baseline, at most.")] = (
        None
    )
    min_class: Annotated[dict[str, Accuracy], Field(description="Robust accuracy of named classes, at least.")] = {}
    min_worst_class: Annotated[
        Accuracy | None, Field(description="Robust accuracy of the class that has the least, at least.")
    ] = None
    attacks: Annotated[Attacks | None, Field(description="Attacks, instead of the gate's.")] = None

    def __str__(self) -> str:
        return f"{self.norm or 'the norm'} {self.eps or 'eps'}"


class GateRules(_Table):
    """Table `[gate]`: model, images, error rate and rules."""

    model: Annotated[str | None, Field(description="As for `advbench attack`.")] = None
    data: Annotated[str | None, Field(description="Data set; by default the model's own.")] = None
    weights: Annotated[
        str | None, Field(description="File put into the PyTorch or Keras model that file.py:factory makes.")
    ] = None
    expect_clean: Annotated[
        str | float | None, Field(description="Clean accuracy that the model is known to have.")
    ] = None
    input_layout: Annotated[str | None, Field(description="Order of axes the model was made for, like nchw.")] = None
    mean: Annotated[str | None, Field(description="Subtracted from pixels in [0, 1], one for all or a list.")] = None
    std: Annotated[str | None, Field(description="Divisor of pixels after that, one for all or a list.")] = None
    logits: Annotated[str | None, Field(description="Output that holds the logits, where the model has several.")] = (
        None
    )
    allow_extra_outputs: Annotated[
        bool, Field(description="The model may have more outputs than there are classes.")
    ] = False
    resize: Annotated[Positive | None, Field(description="Size of image files: pixels of the shorter side.")] = None
    crop: Annotated[Positive | None, Field(description="Crop of image files: pixels of the central square.")] = None
    interpolation: Annotated[str | None, Field(description="Pillow's filter for resizing.")] = None
    classes: Annotated[str | None, Field(description="File of class names, one a line, label 0 first.")] = None
    transparent: Annotated[str | None, Field(description="Background of transparent images: keep, black or white.")] = (
        None
    )
    skip_corrupt: Annotated[bool, Field(description="Leave out images that can't be read.")] = False
    n: Annotated[Positive | None, Field(description="Number of first test images; by default all at hand.")] = None
    indices: Annotated[
        str | None, Field(description="Test images by number, like 0-99,500, or a file of such, instead of n.")
    ] = None
    seed: Annotated[Seed, Field(description="Fixes the order of images, and every random start.")] = 0
    batch_size: Annotated[Positive, Field(description="Smallest number of images between two decisions.")] = 64
    error_rate: Annotated[
        float, Field(gt=0, le=0.5, description="Probability of a wrong verdict, at most, over all rules.")
    ] = 0.05
    attacks: Annotated[Attacks | None, Field(description="Attacks; by default those of `advbench attack`.")] = None
    input_defense: Annotated[Attacks | None, Field(description="Input defenses.")] = None
    adaptive: Annotated[bool, Field(description="Whether attacks know the input defenses.")] = True
    translate: Annotated[
        bool, Field(description="Whether attacks compute a translation of a PyTorch module; the judge asks the module.")
    ] = True
    eot_samples: Annotated[
        Positive | None, Field(description="Draws averaged in each pass, for a randomised model.")
    ] = None
    preflight: Annotated[
        Literal["none", "fast", "full"], Field(description="Preflight checks for masked gradients.")
    ] = "fast"
    time_limit: Annotated[str | None, Field(description="Time limit, like 5m; open rules are then inconclusive.")] = (
        None
    )
    query_limit: Annotated[Positive | None, Field(description="Query limit of a remote target, in images.")] = None
    allow_flags: Annotated[
        tuple[str, ...], Field(strict=False, description="Findings that do not make the gate invalid.")
    ] = ()
    baseline: Annotated[str | None, Field(description="File that --update-baseline wrote.")] = None
    baseline_images: Annotated[Positive, Field(description="Images of a new baseline.")] = BASELINE_IMAGES
    min_clean: Annotated[Accuracy | None, Field(description="Clean accuracy, at least.")] = None
    max_drop: Annotated[
        Accuracy | None, Field(description="Robust accuracy lost, at most, under every threat without its own.")
    ] = None
    threats: Annotated[tuple[ThreatRules, ...], Field(strict=False)] = ()

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for problem in _contradictions(self):
            raise ValueError(problem)
        return self

    def drop(self, threat: ThreatRules) -> Fraction | None:
        """Return the largest drop allowed under a threat model: its own, else that of the whole gate.

        Parameters
        ----------
        threat : ThreatRules
            Table of the threat model.

        Returns
        -------
        Fraction or None
            Fraction of all images, None for no limit.
        """
        return self.max_drop if threat.max_drop is None else threat.max_drop


class Configuration(_Table):
    """The whole `advbench.toml`, or `[tool.advbench]` of pyproject.toml."""

    gate: GateRules


@dataclass(frozen=True)
class Rule:
    """One requirement of a gate.

    Parameters
    ----------
    kind : Kind
        Kind of the rule.
    threshold : Fraction
        Accuracy or drop, exact.
    threat : int, optional
        Number of the threat model in the gate; None for clean accuracy.
    class_name : str, optional
        Class, for rules about one.
    at : tuple[str or int, ...], default ()
        Keys that lead to the rule, from the gate's table on.
    """

    kind: Kind
    threshold: Fraction
    threat: int | None = None
    class_name: str | None = None
    at: tuple[str | int, ...] = ()


def rules_of(gate: GateRules) -> list[Rule]:
    """List all rules of a gate, in the order of the report.

    Parameters
    ----------
    gate : GateRules
        Table of the gate.

    Returns
    -------
    list[Rule]
        The rules.
    """
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
    """Describe contradictory settings, each in one line."""
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
    """Return the JSON Schema of `advbench.toml`, and of `[tool.advbench]` in pyproject.toml; for editors.

    Returns
    -------
    dict[str, Any]
        JSON Schema.
    """
    schema = Configuration.model_json_schema(by_alias=True)
    schema["$defs"]["GateRules"]["properties"] |= renamed.former_properties(schema["$defs"]["GateRules"]["properties"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "advbench configuration"}
