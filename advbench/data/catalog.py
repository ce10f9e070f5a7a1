"""Registry of published data sets: a new one is a `DatasetInfo` in a file of its own and one name here."""

from pathlib import Path

from advbench.core.names import found, plain
from advbench.data.cifar import CIFAR10, CIFAR100
from advbench.data.mnist import FASHION_MNIST, MNIST
from advbench.data.spec import DatasetInfo

DATASETS: dict[str, DatasetInfo] = {each.name: each for each in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}
"""Published data sets by name."""


def known(text: str) -> str | None:
    """Return the published data set that is meant; None if none is, or something exists at that path.

    Parameters
    ----------
    text : str
        Name or path, as typed.

    Returns
    -------
    str or None
        A name in `DATASETS`.
    """
    if text in DATASETS or Path(text).exists():
        return text if text in DATASETS else None
    return next((name for name in DATASETS if plain(name) == plain(text)), None)


def find(name: str) -> DatasetInfo:
    """Return the description of a data set.

    Parameters
    ----------
    name : str
        Name as typed.

    Returns
    -------
    DatasetInfo
        The description.

    Raises
    ------
    UsageError
        When there is no such data set; with the nearest name.
    """
    return DATASETS[found("data set", name, DATASETS)]
