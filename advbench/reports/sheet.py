"""What a table says, once, for every way to render it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advbench.core.flag import Flag
from advbench.evaluation.result import AttackReport, Rate, Result

if TYPE_CHECKING:
    from advbench.evaluation.corrupted import Corruptions


@dataclass(frozen=True)
class Note:
    """A line under the table; `invalid` ones say that its numbers can't be trusted."""

    level: str  # legend, note or invalid
    text: str


@dataclass(frozen=True)
class Sheet:
    """A table in words. Columns from `needed` on give way on a narrow terminal."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[Note, ...]
    needed: int
    verdict: bool = False  # whether the last row sums up the others


def of_result(result: Result) -> Sheet:
    """One evaluation: the clean accuracy, a row per attack, the worst case over all."""
    each = result.mode == "each"
    legend = (
        "Every attack tried every image; the worst case counts an image only if it withstands all."
        if each
        else "Each attack tries the images still standing: its accuracy is what is left after it and those above."
    )
    clean, robust = result.clean, result.robust
    return Sheet(
        title=f"{result.model.name} on {_images(result)}, {result.threat.title}",
        header=("", "accuracy", "95% interval", "tried", "broke", "seconds", "passes/ image"),
        rows=(
            ("clean", percent(clean), interval(clean), f"{clean.n:,}", f"{clean.n - clean.correct:,}", "", ""),
            *(_attack(report, each) for report in result.attacks),
            ("worst case", percent(robust), interval(robust), "", "", _total(result.attacks), ""),
        ),
        notes=(Note("legend", legend), *_undone(result), *_queries(result), *_flags([result])),
        needed=3,
        verdict=True,
    )


def of_models(results: Sequence[Result], names: Sequence[str]) -> Sheet:
    """Several models under the same attacks: models down, each attack alone across, the worst case last."""
    first = results[0]
    specs = [report.spec for report in first.attacks]
    heads = short_names(specs)
    full = [f"{head} is {spec}" for head, spec in zip(heads, specs, strict=True) if head != spec]
    return Sheet(
        title=f"{_images(first)}, {first.threat.title}",
        header=("model", "clean", *heads, "worst case", "seconds"),
        rows=tuple(
            (
                name,
                both(result.clean),
                *(both(report.alone or report.after) for report in result.attacks),
                both(result.robust),
                _total(result.attacks),
            )
            for name, result in zip(names, results, strict=True)
        ),
        notes=(
            Note("legend", "Accuracy with its 95% Wilson interval; the worst case is taken image by image."),
            *([Note("legend", f"{'; '.join(full)}.")] if full else []),
            *(note for result, name in zip(results, names, strict=True) for note in _queries(result, f"{name}: ")),
            *_flags(results, names),
        ),
        needed=len(specs) + 3,
    )


def short_names(specs: Sequence[str]) -> list[str]:
    """Names of attacks without their settings, for heads of columns: `pgd:steps=9` -> `pgd`; numbered if they repeat.

    Parameters
    ----------
    specs : sequence of str
        Attacks as typed.

    Returns
    -------
    list of str
        Distinct names in the same order.
    """
    names = [spec.partition(":")[0] for spec in specs]
    return [
        spec
        if spec == name and specs.count(spec) == 1
        else f"{name}#{names[: at + 1].count(name)}"
        if names.count(name) > 1
        else name
        for at, (name, spec) in enumerate(zip(names, specs, strict=True))
    ]


def of_curve(results: Sequence[Result]) -> Sheet:
    """One model at several eps: a row each."""
    first = results[0]
    return Sheet(
        title=f"{first.model.name} on {_images(first)}, {first.threat.norm}",
        header=("eps", "accuracy", "95% interval", "seconds"),
        rows=(
            ("clean", percent(first.clean), interval(first.clean), ""),
            *((r.threat.eps, percent(r.robust), interval(r.robust), _total(r.attacks)) for r in results),
        ),
        notes=(
            Note("legend", f"Worst case over {', '.join(report.spec for report in first.attacks)}."),
            *_flags(results, [f"eps {r.threat.eps}" for r in results]),
        ),
        needed=3,
    )


def of_runs(results: Sequence[Result]) -> Sheet:
    """Any evaluations side by side, a row each: their models, threats, attacks and images may all differ."""
    return Sheet(
        title=f"{len(results)} evaluations",
        header=("model", "threat", "clean", "worst case", "images", "attacks"),
        rows=tuple(
            (
                r.model.name,
                r.threat.title,
                both(r.clean),
                both(r.robust),
                f"{r.data.n:,} {r.data.name}",
                "\n".join(report.spec for report in r.attacks),
            )
            for r in results
        ),
        notes=(
            Note("legend", "Accuracy with its 95% Wilson interval; the worst case is taken image by image."),
            *_flags(results, [f"{r.model.name}, {r.threat.title}" for r in results]),
        ),
        needed=4,
    )


def of_corruptions(result: Corruptions) -> Sheet:
    """One model under common corruptions: kinds down, severities across, means at the ends."""
    found = {(row.kind, row.severity): row.rate for row in result.corrupted}
    kinds = tuple(dict.fromkeys(kind for kind, _ in found))
    severities = tuple(dict.fromkeys(severity for _, severity in found))

    def mean(rates: Sequence[Rate]) -> str:
        return f"{sum(rate.accuracy for rate in rates) / len(rates):.{_decimals(rates[0])}%}"

    def cell(rate: Rate) -> str:
        return f"{percent(rate)}\n{interval(rate)}"

    clean = f"{percent(result.clean)} clean ({interval(result.clean)})"
    made = "; ".join(f"{kind}: {how}" for kind, how in result.stand_ins.items())
    return Sheet(
        title=f"{result.model} on {result.n:,} corrupted {result.data} {result.split} images, {clean}",
        header=("severity", *map(str, severities), "mean"),
        rows=(
            *(
                (kind, *(cell(found[kind, s]) for s in severities), mean([found[kind, s] for s in severities]))
                for kind in kinds
            ),
            (
                "mean",
                *(mean([found[kind, s] for kind in kinds]) for s in severities),
                mean(list(found.values())),
            ),
        ),
        notes=(
            Note(
                "legend", "Accuracy with its 95% Wilson interval. Images are corrupted here, not the published files."
            ),
            *([Note("legend", f"Stand-ins: {made}.")] if made else []),
        ),
        needed=len(severities) + 2,
        verdict=True,
    )


def percent(rate: Rate) -> str:
    """`94.3%`; two decimals where there are enough images for them."""
    return f"{rate.accuracy:.{_decimals(rate)}%}" if rate.n else "-"


def interval(rate: Rate) -> str:
    """`92.7-95.6`, in percent."""
    return f"{100 * rate.low:.{_decimals(rate)}f}-{100 * rate.high:.{_decimals(rate)}f}"


def both(rate: Rate) -> str:
    """An accuracy over its interval."""
    return f"{percent(rate)}\n({interval(rate)})"


def _decimals(rate: Rate) -> int:
    return 2 if rate.n > 1000 else 1


def _images(result: Result) -> str:
    return f"{result.data.n:,} {result.data.name} {result.data.split} images ({result.data.indices})"


def _attack(report: AttackReport, each: bool) -> tuple[str, ...]:
    rate = report.alone if each and report.alone else report.after
    cost = f"{report.forwards / report.tried:,.0f}" if report.tried else ""
    tried, broke = f"{report.tried:,}", f"{report.broke:,}"
    return report.spec, percent(rate), interval(rate), tried, broke, f"{report.seconds:,.1f}", cost


def _total(attacks: Iterable[AttackReport]) -> str:
    return f"{sum(report.seconds for report in attacks):,.1f}"


def _undone(result: Result) -> list[Note]:
    counts = [f"{a.undone:,} of {a.claimed:,} by {a.spec}" for a in result.attacks if a.undone]
    return [Note("legend", f"Successes that the judge undid: {', '.join(counts)}.")] if counts else []


def _queries(result: Result, prefix: str = "") -> list[Note]:
    if (q := result.model.queries) is None:
        return []
    of = f" of {q.budget:,}" if q.budget else ""
    steps = f"; pixels in {q.levels} steps" if q.levels else ""
    return [
        Note(
            "legend",
            f"{prefix}{q.asked:,}{of} queries in {q.requests:,} requests ({q.retries:,} tried again), "
            f"{q.remembered:,} answered from memory; {q.protocol} {q.answers}{steps}.",
        )
    ]


def _flags(results: Sequence[Result], names: Sequence[str] = ()) -> list[Note]:
    def note(flag: Flag, name: str) -> Note:
        return Note(flag.level, f"{flag.level}: {name}{flag.name}: {flag.message}")

    prefixes = [f"{name}: " for name in names] or [""]
    return [note(f, prefix) for result, prefix in zip(results, prefixes, strict=True) for f in result.flags]
