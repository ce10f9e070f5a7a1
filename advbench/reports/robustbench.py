"""Evaluations in the format of RobustBench's `model_info` files (Croce et al. 2021, arXiv 2010.09670)."""

from __future__ import annotations

import json
from typing import Any

from advbench.evaluation.result import Rate, Result
from advbench.gating.verdict import Gate
from advbench.reports.sheet import interval

PAPER = ("link", "authors", "venue")
"""Fields that only the model's authors know: taken from its record, else null."""


def of_result(result: Result) -> str:
    """Render a result as a JSON object: accuracies as text in percent, null for unknown fields."""
    return json.dumps(_info(result), indent=2) + "\n"


def of_gate(gate: Gate) -> str:
    """Render a gate as a JSON array with an object per threat."""
    return json.dumps([_info(result) for result in gate.results], indent=2) + "\n"


def _info(result: Result) -> dict[str, Any]:
    record = result.model.record
    paper = {key: _text(record.get(key)) for key in PAPER}
    attacks = ", ".join(report.spec for report in result.attacks)
    return {
        "link": paper["link"],
        "name": result.model.name,
        "authors": paper["authors"],
        "additional_data": record.get("additional_data"),
        "number_forward_passes": _passes(result),
        "dataset": result.data.name,
        "venue": paper["venue"],
        "architecture": _text(record.get("architecture")),
        "eps": result.threat.eps,
        "clean_acc": _percent(result.clean),
        "reported": _percent(result.robust),
        "autoattack_acc": _percent(result.robust) if _is_autoattack(result) else None,
        "footnote": f"{result.threat.norm}; robust to {attacks} on {result.robust.n} {result.data.split} images, "
        f"95% interval {interval(result.robust)}.",
        "unreliable": result.exit_code != 0,
    }


def _is_autoattack(result: Result) -> bool:
    """Return whether the whole standard AutoAttack ran; only its result may be reported under its name."""
    from advbench.attacks.suites import SUITES  # imports jax, which a result alone does not need

    recipe = SUITES["autoattack"].get(result.threat.norm)
    run = {report.spec for report in result.attacks}
    return result.complete and recipe is not None and run >= set(recipe)


def _passes(result: Result) -> int:
    """Return the forward passes of one prediction: the number of draws of a randomised model, else 1."""
    draws = [flag.evidence.get("draws") for flag in result.flags if flag.name == "randomised"]
    return next((count for count in draws if isinstance(count, int)), 1)


def _percent(rate: Rate) -> str | None:
    return f"{100 * rate.accuracy:.2f}" if rate.n else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
