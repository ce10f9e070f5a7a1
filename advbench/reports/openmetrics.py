"""OpenMetrics text format 1.0 of a gate, for Prometheus and GitLab's metrics reports."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from advbench.gating.verdict import EXIT_CODES, Gate, Outcome

Labels = dict[str, str]
Sample = tuple[Labels, float]

HELP: Final = {
    "advbench_gate_verdict": ("stateset", "", "Verdict of the gate."),
    "advbench_gate_exit_code": ("gauge", "", "Exit code: 0 pass, 1 fail, 3 invalid, 5 inconclusive."),
    "advbench_gate_images": ("gauge", "", "Images evaluated."),
    "advbench_gate_duration_seconds": ("gauge", "seconds", "Duration of the gate."),
    "advbench_rule_verdict": ("stateset", "", "Verdict of each rule."),
    "advbench_rule_threshold_ratio": ("gauge", "ratio", "Threshold of each rule."),
    "advbench_rule_measured_ratio": (
        "gauge",
        "ratio",
        "Value measured for each rule; for max_drop, the accuracy lost.",
    ),
    "advbench_rule_low_ratio": ("gauge", "ratio", "Lower bound of the measured value."),
    "advbench_rule_high_ratio": ("gauge", "ratio", "Upper bound of the measured value."),
    "advbench_accuracy_ratio": ("gauge", "ratio", "Clean accuracy, and robust accuracy over all attacks."),
}
"""Type, unit and help of each metric."""


def openmetrics(gate: Gate) -> str:
    """Render all metrics of a gate, each with the model's name as a label, ended by `# EOF`."""
    lines: list[str] = []
    for name, samples in _samples(gate).items():
        lines += _family(name, samples)
    return "\n".join([*lines, "# EOF"]) + "\n"


def _samples(gate: Gate) -> dict[str, list[Sample]]:
    model = {"model": gate.model}
    rules = [({**model, "rule": outcome.rule}, outcome) for outcome in gate.outcomes]
    bounds = [(labels, _bounds(outcome)) for labels, outcome in rules]
    found = [(labels, *three) for labels, three in bounds if three]
    return {
        "advbench_gate_verdict": list(_states("advbench_gate_verdict", model, gate.verdict)),
        "advbench_gate_exit_code": [(model, gate.exit_code)],
        "advbench_gate_images": [(model, gate.images)],
        "advbench_gate_duration_seconds": [(model, gate.seconds)],
        "advbench_rule_verdict": [
            sample for labels, o in rules for sample in _states("advbench_rule_verdict", labels, o.verdict)
        ],
        "advbench_rule_threshold_ratio": [(labels, o.threshold) for labels, o in rules if o.threshold is not None],
        "advbench_rule_measured_ratio": [(labels, value) for labels, value, _, _ in found],
        "advbench_rule_low_ratio": [(labels, low) for labels, _, low, _ in found],
        "advbench_rule_high_ratio": [(labels, high) for labels, _, _, high in found],
        "advbench_accuracy_ratio": list(_accuracies(gate)),
    }


def _bounds(outcome: Outcome) -> tuple[float, float, float] | None:
    if (found := outcome.measured) is not None:
        return found.value, found.low, found.high
    if (difference := outcome.difference) is not None:
        return 0.0 - difference.change, 0.0 - difference.high, 0.0 - difference.low
    return None


def _states(name: str, labels: Labels, verdict: str) -> Iterable[Sample]:
    return (({**labels, name: state}, float(state == verdict)) for state in EXIT_CODES)


def _accuracies(gate: Gate) -> Iterable[Sample]:
    """Yield clean and robust accuracy for each threat."""
    for threat, result in {str(result.threat): result for result in gate.results}.items():
        labels = {"model": gate.model, "dataset": result.data.name, "threat": threat}
        yield {**labels, "images": "clean"}, result.clean.accuracy
        yield {**labels, "images": "adversarial"}, result.robust.accuracy


def _family(name: str, samples: Iterable[Sample]) -> list[str]:
    kind, unit, text = HELP[name]
    lines = [f"{name}{{{_labels(labels)}}} {_number(value)}" for labels, value in samples]
    if not lines:
        return []
    return [f"# TYPE {name} {kind}", *([f"# UNIT {name} {unit}"] if unit else []), f"# HELP {name} {text}", *lines]


def _labels(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    """Escape a label value as the format requires, and no more, so that different names stay different."""
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))
