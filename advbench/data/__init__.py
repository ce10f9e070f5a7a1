"""Data sets: published ones by name, and user data from folders, files and functions."""

from advbench.core.dataset import Dataset
from advbench.core.reading import Reading
from advbench.data.catalog import DATASETS
from advbench.data.formats import CorruptData
from advbench.data.opening import again, load
from advbench.data.spec import DatasetInfo
from advbench.data.store import Status, data_folder, info

__all__ = [
    "DATASETS",
    "CorruptData",
    "Dataset",
    "DatasetInfo",
    "Reading",
    "Status",
    "again",
    "data_folder",
    "info",
    "load",
]
