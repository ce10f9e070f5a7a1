"""Tables in words, built once for every way to render them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from advbench.core.flag import Flag
from advbench.evaluation.result import AttackReport, Rate, Result

if TYPE_CHECKING:
    from advbench.evaluation.corrupted import Corruptions


MEANING = "Accuracy with its 95% Wilson interval. An image counts as robust only if no attack broke it."


@dataclass(frozen=True)
class Note:
    """A line below a table.

    Attributes
    ----------
    level : {"legend", "note", "invalid"}
        An `invalid` note says that the numbers can't be trusted.
    text : str
        The line.
    """

    level: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """A table in words.

    Attributes
    ----------
    title : str
        Line above the table.
    header, rows : tuple of str, tuple of tuple of str
        Column headings and cells.
    notes : tuple of Note
        Lines below the table.
    needed : int
        Number of leading columns that a narrow terminal always shows.
    verdict : bool
        Whether the last row sums up the others.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[Note, ...]
    needed: int
    verdict: bool = False


def of_result(result: Result) -> Sheet:
    """Build the table of one evaluation: clean accuracy, a row per attack, robust accuracy."""
    each = result.mode == "each"
    legend = (
        "Every attack tried every image; an image counts as robust only if no attack broke it."
        if each
        else "Each attack tries the images not broken so far: its accuracy is what remains after it and those above."
    )
    clean, robust = result.clean, result.robust
    return Sheet(
        title=f"{result.model.name} on {_images(result)}, {result.threat.title}",
        header=("", "accuracy", "95% interval", "tried", "broken", "seconds", "passes/ image"),
        rows=(
            ("clean accuracy", percent(clean), interval(clean), f"{clean.n:,}", f"{clean.n - clean.correct:,}", "", ""),
            *(_attack(report, each) for report in result.attacks),
            ("robust accuracy", percent(robust), interval(robust), "", "", _total(result.attacks), ""),
        ),
        notes=(Note("legend", legend), *_undone(result), *_queries(result), *_flags([result])),
        needed=3,
        verdict=True,
    )


def of_models(results: Sequence[Result], names: Sequence[str]) -> Sheet:
    """Build the table of several models under the same attacks: a row per model, a column per attack alone.

    Parameters
    ----------
    results : sequence of Result
        One per model, of the same images, threat and attacks.
    names : sequence of str
        Names of the models.

    Returns
    -------
    Sheet
        The table.
    """
    first = results[0]
    specs = [report.spec for report in first.attacks]
    heads = short_names(specs)
    full = [f"{head} is {spec}" for head, spec in zip(heads, specs, strict=True) if head != spec]
    return Sheet(
        title=f"{_images(first)}, {first.threat.title}",
        header=("model", "clean\naccuracy", *heads, "robust\naccuracy", "seconds"),
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
            Note("legend", MEANING),
            *([Note("legend", f"{'; '.join(full)}.")] if full else []),
            *(note for result, name in zip(results, names, strict=True) for note in _queries(result, f"{name}: ")),
            *_flags(results, names),
        ),
        needed=len(specs) + 3,
    )


def short_names(specs: Sequence[str]) -> list[str]:
    """Shorten attacks for heads of columns: `pgd:steps=9` -> `pgd`, numbered if a name repeats.

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
    """Build the table of one model at several eps, with a row per eps."""
    first = results[0]
    return Sheet(
        title=f"{first.model.name} on {_images(first)}, {first.threat.norm}",
        header=("eps", "accuracy", "95% interval", "seconds"),
        rows=(
            ("clean", percent(first.clean), interval(first.clean), ""),
            *((r.threat.eps, percent(r.robust), interval(r.robust), _total(r.attacks)) for r in results),
        ),
        notes=(
            Note("legend", f"Robust accuracy under {', '.join(report.spec for report in first.attacks)}."),
            *_flags(results, [f"eps {r.threat.eps}" for r in results]),
        ),
        needed=3,
    )


def of_runs(results: Sequence[Result]) -> Sheet:
    """Build the table of any evaluations, a row each: models, threats, attacks and images may all differ."""
    return Sheet(
        title=f"{len(results)} evaluations",
        header=("model", "threat", "clean\naccuracy", "robust\naccuracy", "images", "attacks"),
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
            Note("legend", MEANING),
            *_flags(results, [f"{r.model.name}, {r.threat.title}" for r in results]),
        ),
        needed=4,
    )


def of_corruptions(result: Corruptions) -> Sheet:
    """Build the table of one model under common corruptions: a row per kind, a column per severity, and means."""
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
                "legend",
                "Accuracy with its 95% Wilson interval. advbench corrupted the images; these are not the "
                "published files.",
            ),
            *([Note("legend", f"Implemented differently from the published files: {made}.")] if made else []),
        ),
        needed=len(severities) + 2,
        verdict=True,
    )


def percent(rate: Rate) -> str:
    """Return an accuracy in percent, like `94.3%`, with two decimals for more than 1,000 images; `-` without images."""
    return f"{rate.accuracy:.{_decimals(rate)}%}" if rate.n else "-"


def interval(rate: Rate) -> str:
    """Return an interval in percent, like `92.7-95.6`."""
    return f"{100 * rate.low:.{_decimals(rate)}f}-{100 * rate.high:.{_decimals(rate)}f}"


def both(rate: Rate) -> str:
    """Return an accuracy with its interval below it."""
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
    return [Note("legend", f"Successes that the judge rejected: {', '.join(counts)}.")] if counts else []


def _queries(result: Result, prefix: str = "") -> list[Note]:
    if (q := result.model.queries) is None:
        return []
    of = f" of {q.budget:,}" if q.budget else ""
    steps = f"; pixels in {q.levels} steps" if q.levels else ""
    return [
        Note(
            "legend",
            f"{prefix}{q.asked:,}{of} queries in {q.requests:,} requests ({q.retries:,} repeated), "
            f"{q.remembered:,} answered from the cache; {q.protocol} {q.answers}{steps}.",
        )
    ]


def _flags(results: Sequence[Result], names: Sequence[str] = ()) -> list[Note]:
    def note(flag: Flag, name: str) -> Note:
        return Note(flag.level, f"{flag.level}: {name}{flag.name}: {flag.message}")

    prefixes = [f"{name}: " for name in names] or [""]
    return [note(f, prefix) for result, prefix in zip(results, prefixes, strict=True) for f in result.flags]
