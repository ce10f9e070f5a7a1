"""The registry: a new data set is a `DatasetInfo` in a file of its own and one name here."""

from pathlib import Path

from advbench.core.names import found, plain
from advbench.data.cifar import CIFAR10, CIFAR100
from advbench.data.mnist import FASHION_MNIST, MNIST
from advbench.data.spec import DatasetInfo

DATASETS: dict[str, DatasetInfo] = {each.name: each for each in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}


def known(text: str) -> str | None:
    """The published data set that is plainly meant; None where none is, or something lies at that path."""
    if text in DATASETS or Path(text).exists():
        return text if text in DATASETS else None
    return next((name for name in DATASETS if plain(name) == plain(text)), None)


def find(name: str) -> DatasetInfo:
    """The data set of that name; UsageError with the nearest name if there is none."""
    return DATASETS[found("data set", name, DATASETS)]
