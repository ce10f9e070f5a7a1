"""Results as Markdown, and what is wrong with them."""

import platform
import re
import time
from collections.abc import Iterable
from pathlib import Path

from peers.contest import CONTESTANTS, REFERENCE, Worker
from peers.rows import TRAIN, Result, Score

CONTESTING = [name for name in CONTESTANTS | REFERENCE if name != "advbench"]


def report(
    results: list[Result], workers: dict[str, Worker], threads: int, command: str, repetitions: int
) -> tuple[str, list[str]]:
    """The tables as text, and a line on everything that does not agree."""
    each = f"{threads} thread{'s' * (threads > 1)} each"
    parts = [
        f"Measured {time.strftime('%Y-%m-%d')} by `{command}` on {machine()}, {each}, "
        f"medians of {repetitions} interleaved repetitions (what takes over a minute runs once).",
        "Versions: " + ", ".join(f"{k} {v}" for w in workers.values() for k, v in w.versions.items()) + ".",
        "Seconds, lower is better; peers as *defaults / tuned*:",
        times(results),
    ]
    if any(result.row.images == "train" for result in results):
        n = next(result.row.n for result in results if result.row.images == "train")
        parts.append(f"Epochs are timed on {n:,} of {TRAIN:,} images (1/{TRAIN / n:.1f}) and scaled.")
    faults = [fault for result in results for fault in disagreements(result)]
    if any(result.row.radius for result in results):
        verdict = "They agree." if not faults else "**They do not all agree**: " + "; ".join(faults) + "."
        parts += ["Robust accuracy, every contestant's images scored by the same judge:", accuracies(results), verdict]
    return "\n\n".join(parts), faults


def times(results: list[Result]) -> str:
    peers = competing(results)
    head = ["", "advbench", "images/s", *peers, "ours / best default", "ours / best tuned"]
    lines = []
    for result in results:
        row, ours = result.row, result.ours.median
        ratios = [f"{ours / result.best(tuned):.2f}".replace("nan", "") for tuned in (False, True)]
        cells = [_pair(_seconds(result, name, tuned) for tuned in (False, True)) for name in peers]
        lines.append([row.title, f"{ours * row.scale:.2f}", f"{row.n / ours:,.0f}", *cells, *ratios])
    return table(head, lines)


def competing(results: list[Result]) -> list[str]:
    """The peers that any row has, in their order."""
    names = {name for result in results for name, _ in result.scores}
    return [name for name in CONTESTING if name in names]


def _pair(cells: Iterable[str]) -> str:
    """*defaults / tuned*, or what there is of them."""
    return " / ".join(filter(None, cells))


def _seconds(result: Result, name: str, tuned: bool) -> str:
    score = result.scores.get((name, tuned))
    return f"{score.median * result.row.scale:.2f}" if score else ""


def accuracies(results: list[Result]) -> str:
    lines, peers = [], competing(results)
    for result in (result for result in results if result.row.radius):
        row = result.row
        cells = [_pair(_share(result.scores.get((name, tuned))) for tuned in (False, True)) for name in peers]
        title = f"{row.title} ({row.norm.capitalize()} {row.radius:g})"
        lines.append([title, _share(result.ours), *cells, f"{row.tolerance:.1%}"])
    return table(["", "advbench", *peers, "must agree within"], lines)


def _share(score: Score | None) -> str:
    return f"{score.robust:.1%}" if score and score.robust is not None else ""


def disagreements(result: Result) -> list[str]:
    """Who left the ball, and whose robust accuracy differs from ours by more than the row allows."""
    row, faults = result.row, []
    for (name, tuned), score in result.scores.items():
        who = f"{row.name}, {name}{' tuned' if tuned else ''}"
        if score.excess > 1e-6:
            faults.append(f"{who} leaves the ball or the pixel box by {score.excess:.1e}")
        if score.robust is not None and abs(score.robust - result.ours.robust) > row.tolerance + 1e-9:
            faults.append(f"{who} leaves {score.robust:.1%} standing, we {result.ours.robust:.1%}")
    return faults


def table(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines))


def machine() -> str:
    """The processor's name."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.+)", info.read_text()) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()
