"""HTML page of a comparison of two evaluations."""

from __future__ import annotations

from typing import Any

from advbench.core.errors import AdvbenchError
from advbench.evaluation.comparison import Comparison
from advbench.reports.comparison import DIRECTIONS, of_comparison, sentence
from advbench.reports.html import gallery, tables
from advbench.reports.html.page import render
from advbench.reports.html.tables import Table
from advbench.reports.pictures import class_name
from advbench.reports.sources import StoredRun

ROWS = 1000  # most rows of each table of images


def of_pair(found: Comparison, before: StoredRun, after: StoredRun, images: gallery.Finder) -> str:
    """Render a page about the differences between two runs.

    Parameters
    ----------
    found : Comparison
        The differences.
    before, after : StoredRun
        The two runs.
    images : Finder
        Loads adversarial images of a run, for the pictures.

    Returns
    -------
    str
        HTML; the same for the same runs.
    """
    shown = of_comparison(found)
    budget, both = gallery.SizeLimit(), (before, after)
    changes = [
        _change("lost", found.lost, both, _fell(after, found.lost, images, budget)),
        _change("won", found.won, both, _fell(before, found.won, images, budget)),
    ]
    sides = [
        {"id": id_, "title": title, "table": tables.provenance(run.result)}
        for id_, title, run in (("before", "Provenance: before", before), ("after", "Provenance: after", after))
    ]
    return render(
        "compare.html",
        title=f"Comparison of {' and '.join(dict.fromkeys((found.before.model, found.after.model)))}",
        sections=[(part["id"], part["title"]) for part in (*changes, *sides)],
        lede=shown.title,
        words=sentence(found.robust),
        mood="plain" if found.robust.p >= 0.05 else "bad" if found.robust.change < 0 else "good",
        difference=tables.of_sheet(shown, shown.notes[0].text),
        notes=found.notes,
        changes=changes,
        sides=sides,
    )


def _fell(
    run: StoredRun, indices: tuple[int, ...], images: gallery.Finder, budget: gallery.SizeLimit
) -> gallery.Gallery:
    """Build the pictures of the images that changed one way, from the run that broke them."""
    try:
        return gallery.of_pairs(run.result, images(run, set(indices)), budget)
    except AdvbenchError as error:
        return gallery.Gallery((), f"No pictures: {error}.")


def _change(
    kind: str, indices: tuple[int, ...], both: tuple[StoredRun, StoredRun], pictures: gallery.Gallery
) -> dict[str, Any]:
    """Build the section on the images that changed one way, from before to after."""
    (before, after), wanted = both, set(indices)
    rows = [(b, a) for b, a in zip(before.result.rows, after.result.rows, strict=True) if b.index in wanted]
    table = Table(
        f"Images {kind}",
        ("image", "class", "prediction before", "prediction after", "broken by", "distance"),
        tuple(
            (
                str(b.index),
                class_name(before.result, b.label),
                class_name(before.result, b.prediction),
                class_name(after.result, a.prediction),
                (a if kind == "lost" else b).broken_by or "",
                tables.decimal((a if kind == "lost" else b).distance),
            )
            for b, a in rows[:ROWS]
        ),
        left=(1, 2, 3, 4),
        filtered=True,
        note=f"The first {ROWS:,} of {len(rows):,}." if len(rows) > ROWS else "",
    )
    title = f"{kind.capitalize()}: {len(indices):,} images {DIRECTIONS[kind]}"
    return {"id": kind, "title": title, "table": table, "gallery": pictures, "count": len(indices)}
