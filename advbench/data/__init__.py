"""Data sets as NumPy arrays: embedded ones at once, full ones after `advbench data fetch`."""

from advbench.data.catalog import DATASETS
from advbench.data.formats import CorruptData
from advbench.data.spec import Dataset, DatasetInfo
from advbench.data.store import Status, data_folder, info, load

__all__ = ["DATASETS", "CorruptData", "Dataset", "DatasetInfo", "Status", "data_folder", "info", "load"]
