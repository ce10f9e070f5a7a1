"""Results of several seeds of one training, with mean and standard deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from advbench.reports.sheet import Note, Sheet

MEASURED = ("clean", "fgsm", "robust")


def summary(out: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Combine the training records of all seeds.

    Parameters
    ----------
    out : str
        Where the models were saved.
    records : sequence of mapping
        Training record of each seed.

    Returns
    -------
    dict
        JSON object with the records and, for each accuracy, its mean and the sample standard deviation over seeds
        (n - 1 in the denominator; None for a single seed), as fractions.
    """
    found = {name: [record["validation"][name] for record in records] for name in MEASURED}
    return {
        "model": out,
        "seeds": [{"seed": record["recipe"]["seed"], **record} for record in records],
        "mean": {name: fmean(values) for name, values in found.items()},
        "deviation": {name: stdev(values) if len(values) > 1 else None for name, values in found.items()},
    }


def of_seeds(summary: Mapping[str, Any]) -> Sheet:
    """Build the table of a summary: a row per seed, then mean and standard deviation."""
    runs = summary["seeds"]
    first = runs[0]
    held, threat = first["images"]["validated_on"], first["threat"]
    deviations = summary["deviation"].values()
    which = "Each seed has its own validation images."
    if split := first["images"].get("validation"):
        which = f"All seeds have the same validation images, of {split['split']}."
    return Sheet(
        title=f"{first['defense']}, {threat['norm']} eps {threat['eps']}, {held:,} validation images",
        header=("seed", "clean", "FGSM", "PGD-10", "best epoch", "seconds"),
        rows=(
            *(
                (
                    str(run["seed"]),
                    *(f"{run['validation'][name]:.2%}" for name in MEASURED),
                    str(run["validation"]["epoch"]),
                    f"{run['seconds']:,.1f}",
                )
                for run in runs
            ),
            ("mean", *(f"{value:.2%}" for value in summary["mean"].values()), "", ""),
            ("deviation", *("-" if value is None else f"{100 * value:.2f}" for value in deviations), "", ""),
        ),
        notes=(Note("legend", f"Sample standard deviation over seeds in percentage points. {which}"),),
        needed=4,
    )
