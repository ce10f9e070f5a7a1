"""Threat models and attacks: as named, or the defaults of model and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from advbench.api import targets
from advbench.core.errors import UsageError
from advbench.core.spec import unknown_threat

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.core.spec import ThreatSpec


CASCADE = ("fgsm", "apgd", "apgd:loss=dlr")
"""Attacks used unless others are named; targeted APGD follows them.

Cheap attacks first, then strong ones; targeted APGD breaks most of the images that are left.
"""


FEWEST = 4  # classes that the targeted DLR loss needs; with fewer the margin takes its place
TARGETS = 9  # of that, as published; all wrong classes where there are fewer
CASCADE_L2 = ("cw:rounds=5,steps=100",)


def texts_of(given: Any) -> list[Any] | None:
    """Put one or several things into a list.

    Parameters
    ----------
    given : Any
        One thing, a sequence, or None.

    Returns
    -------
    list or None
        None for None.
    """
    if given is None:
        return None
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]


def cascade(model: LoadedModel, norm: str, classes: int) -> tuple[str, ...]:
    """Return the default attacks, by what the model answers, the norm and the number of classes.

    Parameters
    ----------
    model : LoadedModel
        The model.
    norm : str
        Norm of the threat model.
    classes : int
        Number of classes.

    Returns
    -------
    tuple of str
        Attacks as typed, in order.
    """
    if model.access != "gradient":
        return targets.cascade(model, norm)
    towards = f"apgd:loss={'dlr' if classes >= FEWEST else 'margin'},targets={min(TARGETS, max(classes - 1, 1))}"
    return (*CASCADE, towards, *(CASCADE_L2 if norm == "l2" else ()))


def threats_of(model: LoadedModel, dataset: str, norm: str | None, eps: str | None) -> list[ThreatSpec]:
    """Read the threat models: as typed, else the one that the model was trained for, else the default of the data set.

    Parameters
    ----------
    model : LoadedModel
        The model.
    dataset : str
        Name of the data.
    norm : str or None
        Norm as typed.
    eps : str or None
        One or several eps, separated by commas.

    Returns
    -------
    list of ThreatSpec
        One for each eps.

    Raises
    ------
    UsageError
        For text that is no threat model, or an eps that is missing for this norm.
    """
    from advbench.attacks import NORMS
    from advbench.core.names import found
    from advbench.core.spec import ThreatSpec

    trained = _trained(model, dataset)
    if trained is None and (norm is None or (eps is None and norm != "any")):
        raise UsageError(unknown_threat(dataset))
    trained = trained or {"norm": "", "eps": ""}
    norm = found("norm", norm, NORMS) if norm else trained["norm"]
    if norm == "any":
        trained = {"norm": "any", "eps": "1"}
    if eps is None and norm != trained["norm"]:
        raise UsageError(f"--norm {norm} needs an --eps of its own ({model.name} is for {trained['norm']})")
    texts = eps.split(",") if eps is not None else [trained["eps"]]
    return [ThreatSpec.parse(norm, text) for text in texts]


def _trained(model: LoadedModel, dataset: str) -> dict[str, str] | None:
    from advbench.data import DATASETS

    if threat := model.record.get("threat"):
        found: dict[str, str] = threat
        return found
    info = DATASETS.get(dataset)
    return None if info is None else {"norm": info.default_norm, "eps": info.default_eps}
