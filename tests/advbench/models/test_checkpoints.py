"""Weights of PyTorch modules in every form that training scripts write."""

import argparse
import contextlib
import sys

import numpy as np
import pytest

from advbench.core.errors import CorruptFile, UsageError
from advbench.models.checkpoints import fill

with contextlib.suppress(ModuleNotFoundError):
    import torch
    from torch import nn

pytestmark = pytest.mark.integration(needs="torch")


def network(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential()
    net.conv, net.norm, net.head = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)
    return net


def named(prefix, state):
    return {prefix + name: value for name, value in state.items()}


def within(*keys):
    def form(state):
        for key in reversed(keys):
            state = {
                key: state,
                "epoch": 3,
                "best_acc": 0.9,
                "arch": "resnet",
                "args": {"lr": 0.1, "milestones": [1, 2]},
            }
        return state

    return form


def with_optimizer(state):
    net = network()
    optimizer = torch.optim.Adam(net.parameters())
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    return {"model": state, "optimizer": optimizer.state_dict(), "loss": torch.tensor(0.5)}


FORMS = {
    "plain": lambda state: state,
    "net": within("net"),
    "model": within("model"),
    "model_state_dict": within("model_state_dict"),
    "state_dict_ema": within("state_dict_ema"),
    "two deep": within("checkpoint", "model"),
    "lightning": lambda state: within("state_dict")(named("model.", state)),
    "behind a normalisation": lambda state: named("1.", state),
    "torch.compile": lambda state: named("_orig_mod.", state),
    "DataParallel": lambda state: within("state_dict")(named("module.", state)),
    "compiled and parallel": lambda state: named("module._orig_mod.", state),
    "AveragedModel": lambda state: {"n_averaged": torch.tensor(7), **named("module.", state)},
    "without counters": lambda state: {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")},
    "with optimizer": with_optimizer,
    "twice the same": lambda state: {"state_dict": state, "state_dict_ema": dict(state)},
    "half precision": lambda state: {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
}


@pytest.fixture(scope="module")
def trained():
    net = network(1)
    net.norm.running_mean += 0.5
    return net.state_dict()


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_weights_are_found_wherever_they_are(tmp_path, trained, form):
    torch.save(form(trained), tmp_path / "net.pt")
    net = network()
    fill(net, tmp_path / "net.pt")
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, trained[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("before", [0, 1])
def test_a_module_around_another_takes_the_weights_of_that(tmp_path, trained, before):
    torch.save(trained, tmp_path / "net.pt")
    net = network()
    fill(nn.Sequential(*[nn.Identity()] * before, net), tmp_path / "net.pt")
    torch.testing.assert_close(net.head.weight, trained["head.weight"])


def test_safetensors_fill_a_module(tmp_path, trained):
    from safetensors.torch import save_file

    save_file(named("module.", trained), tmp_path / "net.safetensors")
    net = network()
    fill(net, tmp_path / "net.safetensors")
    torch.testing.assert_close(net.state_dict(), trained)


def without(name, state):
    return {key: value for key, value in state.items() if key != name}


REFUSED = {
    "another name": (
        lambda state: {**without("head.bias", state), "extra": state["head.bias"]},
        r"holds 9 arrays, the module wants 9, and 8 agree; held | wanted: extra [3] | head.bias [3]",
    ),
    "another shape": (
        lambda state: {**state, "head.bias": torch.zeros(7)},
        "8 agree; held | wanted: head.bias [7] | head.bias [3]",
    ),
    "one missing": (lambda state: without("head.bias", state), "8 agree; held | wanted: nothing | head.bias [3]"),
    "one more": (lambda state: {**state, "aux.bias": torch.zeros(2)}, "9 agree; held | wanted: aux.bias [2] | nothing"),
    "behind a prefix": (
        lambda state: named("model.", {**state, "head.bias": torch.zeros(7)}),
        "8 agree; held | wanted: model.head.bias [7] | head.bias [3]",
    ),
    "under a key": (lambda state: {"net": without("head.bias", state)}, "holds 8 arrays under net,"),
    "a normalisation of its own": (
        lambda state: {"0.mean": torch.zeros(2), **named("1.", state)},
        "its '1.' alone is what the module wants: let the factory make all of it",
    ),
    "two sets": (
        lambda state: {"state_dict": state, "state_dict_ema": {k: v * 2 for k, v in state.items()}},
        "several sets of weights for this module (state_dict, state_dict_ema): save the right one alone, like "
        "torch.save(torch.load(FILE, weights_only=True)['state_dict_ema'], NEW)",
    ),
    "a list": (lambda state: [1], "holds list, not a state dict"),
    "no arrays": (
        lambda state: {"epoch": 3, "name": "x"},
        "holds a dictionary of epoch (int), name (str), not a state",
    ),
}


@pytest.mark.parametrize(("form", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_fit_is_told_side_by_side(tmp_path, trained, form, message):
    torch.save(form(trained), tmp_path / "net.pt")
    net = network()
    with pytest.raises(UsageError) as caught:
        fill(net, tmp_path / "net.pt")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    torch.testing.assert_close(net.state_dict(), network().state_dict())


def test_weights_for_a_part_of_the_module_are_told(tmp_path, trained):
    torch.save(trained, tmp_path / "net.pt")
    with pytest.raises(UsageError, match=r"it is the module's '1\.' alone: load it there, in the factory"):
        fill(nn.Sequential(nn.BatchNorm2d(2), network()), tmp_path / "net.pt")


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        fill(network(), tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("beside", "name", "allowed"),
    [
        (lambda: argparse.Namespace(lr=0.1), "argparse.Namespace", lambda: [argparse.Namespace]),
        (
            lambda: np.float64(0.9),
            "numpy._core.multiarray.scalar",
            lambda: [np._core.multiarray.scalar, np.dtype, type(np.dtype("float64"))],
        ),
    ],
    ids=["Namespace", "NumPy scalar"],
)
def test_types_that_are_not_unpickled_are_named_and_the_users_to_allow(tmp_path, trained, beside, name, allowed):
    torch.save({"state_dict": trained, "args": beside()}, tmp_path / "net.pt")
    with pytest.raises(CorruptFile, match=rf"holds more than weights \(.*{name}") as caught:
        fill(network(), tmp_path / "net.pt")
    assert "torch.serialization.add_safe_globals([" in str(caught.value)
    net = network()
    with torch.serialization.safe_globals(allowed()):
        fill(net, tmp_path / "net.pt")
    torch.testing.assert_close(net.state_dict(), trained)


def test_a_type_met_only_while_an_object_is_built_is_named_too(tmp_path, trained):
    torch.save({"state_dict": trained, "acc": np.float32(0.9)}, tmp_path / "net.pt")
    with (
        torch.serialization.safe_globals([np._core.multiarray.scalar, np.dtype]),
        pytest.raises(CorruptFile, match=r"add_safe_globals\(\[numpy\.dtypes\.Float32DType\]\)"),
    ):
        fill(network(), tmp_path / "net.pt")


def test_programs_of_torch_export_are_no_weights(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(2, 3), (torch.zeros(1, 2),)), tmp_path / "net.pt2")
    with pytest.raises(CorruptFile, match=r"return torch\.export\.load\(FILE\)\.module\(\) in the factory"):
        fill(nn.Linear(2, 3), tmp_path / "net.pt2")


def test_whole_modules_are_not_opened(tmp_path):
    torch.save(network(), tmp_path / "whole.pt")
    with pytest.raises(CorruptFile, match=r"holds more than weights .*torch.nn.modules.* let the factory make it"):
        fill(network(), tmp_path / "whole.pt")


class Hostile:
    def __reduce__(self):
        return (sys.exit, (7,))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_damaged_and_hostile_weights_are_refused_and_run_nothing(tmp_path, trained, suffix):
    from safetensors.torch import save_file

    (torch.save if suffix == ".pt" else save_file)(dict(trained), tmp_path / f"whole{suffix}")
    whole, path = (tmp_path / f"whole{suffix}").read_bytes(), tmp_path / f"cut{suffix}"
    for cut in [0, 1, 7, *range(8, len(whole), len(whole) // 12)]:
        path.write_bytes(whole[:cut])
        with pytest.raises(CorruptFile):
            fill(network(), path)
    torch.save({"conv.weight": Hostile()}, tmp_path / "hostile.pth")
    with pytest.raises(CorruptFile, match="holds more than weights"):
        fill(network(), tmp_path / "hostile.pth")
