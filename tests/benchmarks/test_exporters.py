"""What PyTorch's exporter writes of a few layers, through the sweep that benchmarks/ makes of all."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.integration(needs="torch")
NAMES = ("GELU", "MaxPool2d(12)", "Upsample(scale_factor=1.5,mode='bicubic')", "MultiheadAttention", "topk")


def test_layers_come_back_as_they_were_exported(capsys):
    sys.path.insert(0, str(HERE))
    try:
        import exporters
    finally:
        sys.path.remove(str(HERE))
    cases = [case for case in exporters.layers() if case[0] in NAMES]
    assert exporters.table(iter(cases), {"old": (14, 18)}) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert len(rows) == len(NAMES)
    assert all("| 14 18 |" in row for row in rows)
