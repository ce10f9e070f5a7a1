"""Models of RobustBench (Croce et al. 2021, arXiv 2010.09670), built and loaded by its own package."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.external import External
from advbench.core.names import found
from advbench.core.usercode import one_line
from advbench.models.fingerprint import fingerprint

PREFIX: Final = "robustbench:"
FOLDER: Final = Path("models")  # in the working directory, where RobustBench keeps them by default

THREATS: Final = {
    "Linf": {"norm": "linf", "eps": "8/255"},
    "L2": {"norm": "l2", "eps": "0.5"},
}
"""Threat models of its leaderboards for CIFAR-10 and CIFAR-100."""


class Zoo(NamedTuple):
    """A model of RobustBench."""

    name: str
    predict: External  # takes images [B, C, H, W]
    dataset: str
    digest: str
    record: dict[str, Any]


def load(spec: str) -> Zoo:
    """Load `robustbench:NAME`, for CIFAR-10 under Linf, or `robustbench:DATASET/THREAT/NAME`.

    RobustBench itself looks for `models/DATASET/THREAT/NAME.pt`, and downloads it if it is missing.

    Parameters
    ----------
    spec : str
        The name as typed.

    Returns
    -------
    Zoo
        The model, its data set and record.

    Raises
    ------
    UsageError
        When RobustBench is not installed, has no such model, or can't read its file.
    DataUnavailable
        When the file is missing and can't be downloaded.
    """
    from advbench.models import pytorch

    dataset, threat, name = _parts(spec)
    try:
        from robustbench import model_zoo, utils
        from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel
    except Exception as error:  # whatever packages that do not fit each other may raise
        why = " ".join(str(error).split())
        raise UsageError(
            f"{spec} needs the packages robustbench and torch, and importing them fails: {why[:200]}"
        ) from error
    zoo = model_zoo.model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat)]
    name = found("RobustBench model", name, zoo)
    file = FOLDER / dataset / threat / f"{name}.pt"
    there = file.is_file()
    try:
        with contextlib.redirect_stdout(sys.stderr), one_line(spec):
            module = utils.load_model(name, FOLDER, dataset, threat)
    except UsageError as error:
        if there:
            raise
        file.unlink(missing_ok=True)  # a page that says no is not a model
        why = str(error).partition(" failed: ")[2][:200]
        raise DataUnavailable(f"{file} is not there, and RobustBench can't download it: {why}") from error
    predict, record = pytorch.external(module, spec)
    threat_record = {"threat": THREATS[threat], "robustbench": {"name": name, "dataset": dataset, "threat": threat}}
    digest = fingerprint(sys.modules[type(module).__module__], name, module)
    return Zoo(name, predict, dataset, digest, record | threat_record)


def _parts(spec: str) -> tuple[str, str, str]:
    dataset, threat, name = (["cifar10", "Linf", *spec.removeprefix(PREFIX).split("/")])[-3:]
    if spec.count("/") not in (0, 2) or dataset not in ("cifar10", "cifar100") or threat not in THREATS or not name:
        raise UsageError(f"{spec} should be robustbench:NAME or robustbench:cifar10|cifar100/Linf|L2/NAME")
    return dataset, threat, name
