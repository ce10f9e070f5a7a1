"""HTML page of runs and gates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from advbench.evaluation.result import Result
from advbench.gating.verdict import Gate
from advbench.reports import summary
from advbench.reports.html import charts, gallery, tables
from advbench.reports.html.classes import by_class, matrix
from advbench.reports.html.curves import curves
from advbench.reports.html.page import render
from advbench.reports.html.tables import Table
from advbench.reports.sheet import of_result
from advbench.reports.sources import Sources, StoredRun

ROWS = 5000  # most rows of all tables of images in a page
MOODS = {0: "good", 1: "bad", 3: "bad", 4: "warn", 5: "warn"}  # by exit code


def of_found(found: Sources, images: gallery.Finder) -> str:
    """Render a page about all runs and gates.

    Parameters
    ----------
    found : Sources
        At least one run or gate.
    images : callable
        Finds the images of a run.

    Returns
    -------
    str
        HTML; the same for the same runs.
    """
    runs, names = found.runs, summary.named(found.runs)
    budget, rows = gallery.SizeLimit(), min(tables.IMAGES, ROWS // max(len(runs), 1))
    titles = enumerate(zip(runs, summary.titled(runs), strict=True))
    galleries = [gallery.of_run(run, budget, images) for run in runs]
    parts = [_part(f"run-{at}", run, title, galleries[at], rows) for at, (run, title) in titles]
    gates = [_gate(path, gate) for path, gate in found.gates]
    several = None
    if len(runs) > 1:
        several = tables.of_sheet(summary.of_runs(runs), "Every evaluation", left=(0, 1, 5, 6), filtered=True)
    sections = [(f"gate-{at}", f"Gate of {gate['model']}") for at, gate in enumerate(gates, 1)]
    sections += [("summary", "Summary")] if several else []
    sections += [("curves", "Accuracy over eps")] if len(runs) > 1 else []
    sections += [(part["id"], part["title"]) for part in parts]
    return render(
        "report.html",
        title="Robustness report" if len(runs) != 1 else f"Robustness of {names[0]}",
        sections=sections,
        gates=gates,
        summary=several,
        curves=curves([run.result for run in runs], names),
        parts=parts,
    )


def _part(id_: str, run: StoredRun, title: str, pictures: gallery.Gallery, rows: int) -> dict[str, Any]:
    result, sheet = run.result, of_result(run.result)
    header, classes = by_class(result)
    drawings = (charts.distances(result, f"{id_}-distances"), charts.convergence(result, f"{id_}-convergence"))
    return {
        "id": id_,
        "title": title,
        "mood": MOODS[result.exit_code] if result.exit_code else "plain",  # only a gate decides what is good
        "words": _verdict(result),
        "attacks": tables.of_sheet(sheet, sheet.notes[0].text),
        "flags": tables.flags(result),
        "drawings": [drawing for drawing in drawings if drawing],
        "classes": Table("Accuracy of each class", header, classes, left=(0, 6)),
        "matrix": matrix(result),
        "gallery": pictures,
        "cost": tables.cost(result),
        "provenance": tables.provenance(result),
        "images": tables.images(result, rows),
    }


def _verdict(result: Result) -> str:
    robust = result.robust
    share = f"Robust accuracy {robust.accuracy:.1%} on {robust.n:,} images"
    bounds = f"(95% interval {robust.low:.1%} to {robust.high:.1%}); clean accuracy {result.clean.accuracy:.1%}."
    if result.exit_code == 3:
        names = ", ".join(flag.name for flag in result.flags if flag.level == "invalid")
        return f"Invalid ({names}): these numbers can't be trusted. {share} {bounds}"
    if result.exit_code:
        return f"Incomplete: robust accuracy is an upper bound. {share} {bounds}"
    return f"{share} {bounds}"


def _gate(path: Path, gate: Gate) -> dict[str, Any]:
    baseline = f", against the baseline {gate.baseline}" if gate.baseline else ""
    words = f"{gate.verdict}, after {gate.images:,} of {gate.population:,} images{baseline} ({path})"
    mood = MOODS[gate.exit_code]
    return {"model": gate.model, "mood": mood, "words": words, "table": tables.gate(gate)}
