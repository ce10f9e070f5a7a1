"""Tables of the HTML report, in words; templates only lay them out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from advbench.core.flag import Flag
from advbench.evaluation.result import Result, Row
from advbench.gating.verdict import Gate, Place
from advbench.reports import gate_sheet
from advbench.reports.pictures import class_name
from advbench.reports.sheet import Sheet

IMAGES = 1000  # most rows of the table of images
EVIDENCE = 400  # most characters of one piece of evidence


@dataclass(frozen=True)
class Table:
    """A table of the page.

    Attributes
    ----------
    caption, header, rows : str, tuple of str, tuple of tuple of str
        The table in words.
    left : tuple of int
        Positions of columns that hold text and are aligned left.
    verdict : bool
        The last row sums up the others.
    sortable, filtered : bool
        Rows can be sorted, and filtered by a search box.
    quiet : bool
        The caption repeats the heading above, so only screen readers get it.
    note : str
        Line below the table.
    """

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...] = (0,)
    verdict: bool = False
    sortable: bool = True
    filtered: bool = False
    quiet: bool = False
    note: str = ""


def of_sheet(sheet: Sheet, caption: str, *, left: tuple[int, ...] = (0,), filtered: bool = False) -> Table:
    """Convert the table that a terminal shows."""
    header = tuple(name.replace("/ ", "/").replace("\n", " ") for name in sheet.header)
    return Table(caption, header, sheet.rows, left, verdict=sheet.verdict, filtered=filtered)


def cost(result: Result) -> Table:
    """Build the table of settings and cost of each attack."""
    header = ("attack", "settings", "trials", "forward passes", "gradients", "seconds", "of these compiling")
    rows = tuple(
        (
            report.spec,
            ", ".join(f"{name}={_word(value)}" for name, value in report.settings.items()),
            f"{report.runs:,}",
            f"{report.forwards:,}",
            f"{report.gradients:,}",
            f"{report.seconds:,.1f}",
            "" if report.compile_seconds is None else f"{report.compile_seconds:,.1f}",
        )
        for report in result.attacks
    )
    return Table("Cost and settings of each attack", header, rows, left=(0, 1))


def flags(result: Result) -> Table | None:
    """Build the table of flags and skipped work with their evidence; None if there are none."""
    rows = [_flag(flag) for flag in result.flags]
    rows += [
        (
            "incomplete",
            "skipped",
            f"{s.spec} {'had no image to start from' if s.reason == 'start' else 'was not finished'}",
            f"trials: {s.runs:,}; images: {s.images:,}",
        )
        for s in result.skipped
    ]
    header = ("level", "flag", "what it means", "evidence")
    return Table("Flags", header, tuple(rows), left=(0, 1, 2, 3), quiet=True) if rows else None


def provenance(result: Result) -> Table:
    """Build the table of provenance: model, images, threat, settings, software and time."""
    model, data, made, threat = result.model, result.data, result.provenance, result.threat
    pairs = {
        "model": f"{model.name} (loaded from {model.source})",
        "model digest": model.digest,
        "model record": _words(model.record.items()),
        "images": f"{data.n:,} of {data.name} {data.split}: {data.indices} (from {data.source})",
        "images digest": data.digest,
        "threat": f"{threat.norm}, eps {threat.eps} = {threat.eps_exact} exactly",
        "adversarial images digest": result.adversarial_digest,
        "mode": result.mode,
        "seed": str(result.seed),
        "batch size": str(result.batch_size),
        "device": f"{made.device} ({made.platform})",
        "numerics": f"{'float64 allowed' if made.x64 else 'float32'}, matmul precision {made.matmul_precision}",
        "versions": _words(made.versions.items()),
        "commit": made.commit or "unknown",
        "command": made.command,
        "started": made.started,
        "duration": f"{made.seconds:,.1f} s",
        "schema version": str(result.schema_version),
    }
    rows = tuple((what, value) for what, value in pairs.items() if value)
    return Table("Provenance", ("what", "value"), rows, left=(0, 1), sortable=False, quiet=True)


def images(result: Result, most: int = IMAGES) -> Table:
    """Build the table of the first `most` images, a row each."""
    header = (
        *("image", "class", "outcome", "broken by", "clean prediction", "prediction under attack"),
        *("distance", "margin", "passes"),
    )
    shown = result.rows[:most]
    note = (
        f"First {len(shown):,} of {len(result.rows):,} images; see result.json for all." if shown != result.rows else ""
    )
    rows = tuple(_image(result, row) for row in shown)
    return Table("Every image", header, rows, left=(1, 2, 3, 4, 5), filtered=True, note=note)


def gate(found: Gate) -> Table:
    """Build the table of the rules of a gate with their verdicts."""
    header = ("rule", "verdict", "threshold", "measured", "bounds", "images", "reason", "defined in")
    rows = tuple(
        (
            o.rule,
            o.verdict,
            "" if o.threshold is None else f"{o.threshold:.2%}",
            *gate_sheet.measured(o),
            o.message,
            _place(o.place),
        )
        for o in found.outcomes
    )
    note = f"All bounds hold together with probability {1 - found.error:.1%}."
    return Table("Rules of the gate", header, rows, left=(0, 1, 6, 7), note=note)


def _place(place: Place | None) -> str:
    return f"{place.file}:{place.line}" if place else ""


def _image(result: Result, row: Row) -> tuple[str, ...]:
    outcome = "robust" if row.robust else "misclassified when clean" if row.broken_by == "clean" else "broken"
    return (
        str(row.index),
        class_name(result, row.label),
        outcome,
        "" if row.broken_by in (None, "clean") else str(row.broken_by),
        class_name(result, row.clean_prediction),
        class_name(result, row.prediction),
        decimal(row.distance),
        decimal(row.margin),
        f"{row.forwards + row.gradients:,}",
    )


def _flag(flag: Flag) -> tuple[str, ...]:
    return flag.level, flag.name, flag.message, _words(flag.evidence.items())


def _words(pairs: Iterable[tuple[str, Any]]) -> str:
    return "; ".join(f"{name}: {_word(value)}" for name, value in pairs)


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= EVIDENCE else f"{text[:EVIDENCE]}…"


def decimal(value: float | None) -> str:
    """Return a number with four significant digits; an empty text for None."""
    return "" if value is None else f"{value:.4g}"
