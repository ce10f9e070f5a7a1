"""What PyTorch's exporters write of a few layers, one of a kind, through the sweep that benchmarks/ makes of all."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.integration(needs="torch")
OLDER = ("GELU", "MaxPool2d(12)", "Upsample(scale_factor=1.5,mode='bicubic')", "topk")
BOTH = (
    "MultiheadAttention(4,2,batch_first=True) of rows",
    "GRU(4,3,batch_first=True,bidirectional=True) of rows",
    "fold(unfold)",
    "indexed by lists",
    "written in place",
    "affine_grid, grid_sample",
)


@pytest.fixture(scope="module")
def sweep():
    """`benchmarks/exporters.py`."""
    sys.path.insert(0, str(HERE))
    try:
        import exporters
    finally:
        sys.path.remove(str(HERE))
    return exporters


def right(sweep, names, opsets):
    """Each outcome of these cases, which are all right; of those that are not, what is told."""
    cases = [case for case in sweep.layers() if case.name in names]
    assert sorted(case.name for case in cases) == sorted(names)
    outcomes = sweep.table(cases, opsets)
    assert [each for each in outcomes if each["kind"] != "right"] == []
    return outcomes


def test_layers_come_back_as_they_were_exported_at_any_opset(sweep):
    assert len(right(sweep, OLDER, {"old": (14, 18)})) == 2 * len(OLDER)


def test_both_exporters_write_what_is_understood(sweep):
    outcomes = right(sweep, BOTH, {"old": (20,), "new": (20,)})
    table = list(sweep.summary(outcomes))
    assert len(table) == 1  # all of one outcome
    assert all(f"`{name}`" in table[0] for name in BOTH)
    assert "| 20 | 20 |" in table[0]
