"""PyTorch modules, run by PyTorch itself: its logits and its gradients, to the last bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from advbench.core.errors import CorruptFile, UsageError
from advbench.core.external import External, Pull
from advbench.core.outputs import ANY, Wanted, picked

SAFE = (2, 10)  # torch; before it, files made with malice could run code even with weights_only


def external(module: Any, spec: str) -> tuple[External, dict[str, Any]]:
    """Make a model of a module, in evaluation mode, on the device and in the layout that it is in.

    Parameters
    ----------
    module : torch.nn.Module
        Images, usually `[B, C, H, W]` float32, to logits `[B, K]` of any float type, or to several outputs. It is put
        in evaluation mode for good.
    spec : str
        Who made it, for messages.

    Returns
    -------
    External
        Takes images in the module's layout.
    dict
        The framework's version, and whether the module had been in training mode.

    Raises
    ------
    UsageError
        Parameters are not float32.
    """
    import torch

    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    if odd := [
        f"{name} {t.dtype}" for name, t in tensors.items() if t.is_floating_point() and t.dtype != torch.float32
    ]:
        raise UsageError(f"{spec} has parameters that are not float32 ({odd[0]}): call .float() on the module")
    record = {"framework": f"torch {torch.__version__}"}
    if any(part.training for part in module.modules()):
        record["evaluation mode"] = "set by advbench; the module came in training mode"
    module.eval()
    device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
    return _model(module, device, ANY), record


def _model(module: Any, device: Any, wanted: Wanted) -> External:
    network = _Network(module, device, wanted)
    choose = partial(_model, module, device)
    return External(network.forward, network.vjp, wanted=wanted, choose=choose, given=network.given)


class _Network:
    """A module as `External` wants it."""

    def __init__(self, module: Any, device: Any, wanted: Wanted):
        self.module, self.device, self.wanted = module, device, wanted
        self.given: set[str] = set()  # types that logits had

    def forward(self, x: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self._logits(self._put(x))

    def vjp(self, x: np.ndarray) -> tuple[np.ndarray, Pull]:
        import torch

        images = self._put(x).requires_grad_()
        with torch.enable_grad():
            logits = self._tensor(images.clone())  # a copy, since layers that work in place can't change a leaf

        def pull(cotangent: np.ndarray) -> np.ndarray:
            (g,) = torch.autograd.grad(logits, images, self._put(cotangent), retain_graph=True, allow_unused=True)
            return np.zeros_like(x) if g is None else np.asarray(g.cpu().numpy())

        return logits.detach().cpu().numpy(), pull

    def _put(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(array).to(self.device)

    def _logits(self, images: Any) -> np.ndarray:
        logits: np.ndarray = self._tensor(images).cpu().numpy()
        return logits

    def _tensor(self, images: Any) -> Any:
        """Logits; in half precision, as autocast leaves them, NumPy knows no bfloat16 and a gradient no other type."""
        import torch

        logits = picked(self.module(images), self.wanted)
        if not isinstance(logits, torch.Tensor):
            raise UsageError(f"the module returns {type(logits).__name__}, not a tensor: return its logits")
        self.given.add(str(logits.dtype).removeprefix("torch."))
        return logits.float() if logits.is_floating_point() else logits


def fill(module: Any, path: Path) -> None:
    """Put a state dict into a module: every name, no other, each of its shape.

    Parameters
    ----------
    module : torch.nn.Module
    path : Path
        `.safetensors`, or what `torch.save` made of a state dict, alone or under `state_dict`. It is read with
        `weights_only=True`, so that no code in it runs. `module.` before all names, of `DataParallel`, is left out.

    Raises
    ------
    UsageError
        There is no such file, PyTorch is too old to read it safely, or it is for another module.
    CorruptFile
        It can't be read.
    """
    state = _read(path)
    state = state["state_dict"] if isinstance(state.get("state_dict"), dict) else state
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): value for name, value in state.items()}
    wanted = module.state_dict()
    faults = [f"missing {name}" for name in wanted if name not in state]
    faults += [f"unexpected {name}" for name in state if name not in wanted]
    faults += [
        f"{name} is {_shape(state[name])}, not {_shape(wanted[name])}"
        for name in wanted
        if name in state and _shape(state[name]) != _shape(wanted[name])
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise UsageError(f"{path} is for another module: {'; '.join(faults[:5])}{more}")
    module.load_state_dict(state)


def _shape(value: Any) -> list[int] | str:
    return list(value.shape) if hasattr(value, "shape") else type(value).__name__


def _read(path: Path) -> dict[str, Any]:
    import torch

    if not path.is_file():
        raise UsageError(f"no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE:
            raise UsageError(f"torch {torch.__version__} can't read {path} safely: install torch 2.10, or convert it")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except UsageError:
        raise
    except Exception as error:  # whatever damaged bytes make of a reader
        why = str(error).split(". ")[0].split("\n")[0]
        advice = "torch.save(module.state_dict(), FILE) writes weights alone"
        raise CorruptFile(f"{path} is damaged or holds more than weights ({why[:200]}); {advice}") from error
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise UsageError(
            f"{path} holds {type(state).__name__}, not a state dict: torch.save(module.state_dict(), file)"
        )
    return state
