"""RobustBench's models, through a package that stands in for RobustBench."""

import contextlib
import sys

import numpy as np
import pytest

from advbench.core.errors import DataUnavailable, UsageError
from advbench.core.preprocess import Preprocess
from advbench.models.load import load_model

with contextlib.suppress(ModuleNotFoundError):
    import torch

needs_torch = pytest.mark.integration(needs="torch")

ENUMS = """
from enum import Enum
class BenchmarkDataset(Enum):
    cifar_10 = "cifar10"
    cifar_100 = "cifar100"
class ThreatModel(Enum):
    Linf = "Linf"
    L2 = "L2"
"""
ZOO = """
from torch import nn
from .enums import BenchmarkDataset, ThreatModel
def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
model_dicts = {d: {t: {"Net2020": {"model": net}} for t in ThreatModel} for d in BenchmarkDataset}
"""
UTILS = """
import torch
from .model_zoo import model_dicts
from .model_zoo.enums import BenchmarkDataset, ThreatModel
def load_model(name, folder, dataset, threat):
    path = folder / dataset / threat / f"{name}.pt"
    if not path.is_file():
        print("Download started")
        path.parent.mkdir(parents=True)
        path.write_text("<html>no</html>")
        raise ConnectionError("no route")
    net = model_dicts[BenchmarkDataset(dataset)][ThreatModel(threat)][name]["model"]()
    net.load_state_dict(torch.load(path, weights_only=True))
    return net
"""


@pytest.fixture
def zoo(tmp_path, monkeypatch):
    """A working directory with one model, and the package; the module whose weights it has."""
    package = tmp_path / "lib" / "robustbench"
    (package / "model_zoo").mkdir(parents=True)
    for name, text in (("__init__", ""), ("utils", UTILS), ("model_zoo/__init__", ZOO), ("model_zoo/enums", ENUMS)):
        (package / f"{name}.py").write_text(text)
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path / "lib")
    monkeypatch.chdir(tmp_path)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10))
    folder = tmp_path / "models" / "cifar10" / "L2"
    folder.mkdir(parents=True)
    torch.save(net.state_dict(), folder / "Net2020.pt")
    yield net
    for name in [name for name in sys.modules if name.split(".")[0] == "robustbench"]:
        del sys.modules[name]


@needs_torch
def test_a_model_comes_with_its_data_and_its_threat(zoo):
    model = load_model("robustbench:cifar10/L2/Net2020")
    x = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    with torch.no_grad():
        expected = zoo(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    np.testing.assert_allclose(model.predict(x), expected, atol=1e-5)
    assert (model.name, model.dataset, model.preprocess.layout) == ("Net2020", "cifar10", "nchw")
    assert model.record["threat"] == {"norm": "l2", "eps": "0.5"}
    assert model.digest == load_model("robustbench:cifar10/L2/Net2020").digest


@needs_torch
def test_what_can_not_be_downloaded_is_unavailable_and_leaves_nothing(zoo, tmp_path, capsys):
    with pytest.raises(DataUnavailable, match=r"Linf/Net2020\.pt is not there.*ConnectionError: no route"):
        load_model("robustbench:Net2020")
    assert capsys.readouterr().out == ""  # a result may go to stdout
    assert not list((tmp_path / "models" / "cifar10" / "Linf").iterdir())


@needs_torch
def test_a_damaged_file_is_one_line_and_stays(zoo, tmp_path):
    path = tmp_path / "models" / "cifar10" / "L2" / "Net2020.pt"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UsageError, match="robustbench:cifar10/L2/Net2020 failed") as caught:
        load_model("robustbench:cifar10/L2/Net2020")
    assert "\n" not in str(caught.value) and path.exists()


@needs_torch
def test_names_and_preprocessing_that_can_not_be_are_refused(zoo):
    with pytest.raises(UsageError, match="did you mean 'Net2020'"):
        load_model("robustbench:cifar100/Linf/Net2021")
    with pytest.raises(UsageError, match="normalises its input itself"):
        load_model("robustbench:cifar10/L2/Net2020", Preprocess(mean=(0.5,), std=(0.5,)))


def test_without_the_package_it_is_said_what_is_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "robustbench", None)
    with pytest.raises(UsageError, match="needs the packages robustbench and torch"):
        load_model("robustbench:Net2020")
