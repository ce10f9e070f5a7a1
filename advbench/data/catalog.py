"""The registry: a new data set is a `DatasetInfo` in a file of its own and one name here."""

from advbench.core.names import found
from advbench.data.cifar import CIFAR10, CIFAR100
from advbench.data.mnist import FASHION_MNIST, MNIST
from advbench.data.spec import DatasetInfo

DATASETS: dict[str, DatasetInfo] = {each.name: each for each in (MNIST, FASHION_MNIST, CIFAR10, CIFAR100)}


def find(name: str) -> DatasetInfo:
    """The data set of that name; UsageError with the nearest name if there is none."""
    return DATASETS[found("data set", name, DATASETS)]
