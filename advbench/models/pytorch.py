"""PyTorch modules, run by PyTorch itself: exactly its logits and its gradients."""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

import numpy as np

from advbench.core.choice import ANY, Wanted, picked
from advbench.core.errors import AdvbenchError, UsageError
from advbench.core.external import External, Pull
from advbench.models.aten import translation

BYTES: Final = re.compile(r"\bbyte|uint8|unsigned char", re.IGNORECASE)  # in what a module says that wants bytes
AS_BYTES: Final = (
    "images come as float32 in [0, 1]: a module for whole numbers up to 255 needs one around it whose "
    "forward(x) gives it 255 * x, and without a cast to bytes, through which no gradient goes"
)


def external(module: Any, spec: str) -> tuple[External, dict[str, Any]]:
    """Make a model of a module, in evaluation mode, on its own device and in its own layout.

    Parameters
    ----------
    module : torch.nn.Module
        Maps images, usually `[B, C, H, W]` float32, to logits `[B, K]` of any float type, or to several outputs. It is
        put in evaluation mode and stays in it.
    spec : str
        Name of the factory, for messages.

    Returns
    -------
    External
        Takes images in the layout of the module.
    dict
        Version of the framework, and whether the module was in training mode.

    Raises
    ------
    UsageError
        When parameters are not float32.
    """
    import torch

    tensors = dict([*module.named_parameters(), *module.named_buffers()])
    if odd := [
        f"{name} {t.dtype}" for name, t in tensors.items() if t.is_floating_point() and t.dtype != torch.float32
    ]:
        raise UsageError(f"{spec} has parameters that are not float32 ({odd[0]}): call .float() on the module")
    record = {"framework": f"torch {torch.__version__}"}
    training = any(part.training for part in module.modules())
    try:
        module.eval()
    except NotImplementedError:  # of `torch.export`, which has chosen the mode for good
        record["evaluation mode"] = "as it was exported"
    else:
        if training:
            record["evaluation mode"] = "set by advbench; the module came in training mode"
    device = next(iter(tensors.values())).device if tensors else torch.device("cpu")
    return _model(module, device, ANY), record


def _model(module: Any, device: Any, wanted: Wanted) -> External:
    network = _Network(module, device, wanted)
    choose = partial(_model, module, device)
    return External(
        network.forward,
        network.vjp,
        wanted=wanted,
        choose=choose,
        translate=partial(translation, module),
        given=network.given,
    )


class _Network:
    """A module with the functions that `External` needs."""

    def __init__(self, module: Any, device: Any, wanted: Wanted):
        self.module, self.device, self.wanted = module, device, wanted
        self.given: set[str] = set()  # types that logits had
        self.pulls = 0  # gradients asked for at the last images; as many are expected at the next

    def forward(self, x: np.ndarray) -> np.ndarray:
        import torch

        with torch.no_grad():
            return self._logits(self._put(x))

    def vjp(self, x: np.ndarray) -> tuple[np.ndarray, Pull]:
        import torch

        expected, self.pulls = self.pulls, 0
        graph = [self._recorded(x)]

        def pull(cotangent: np.ndarray) -> np.ndarray:
            self.pulls += 1
            images, logits = graph.pop() if graph else self._recorded(x)
            # What a graph holds is freed on the way back, so that its memory serves again while it is still in use.
            if keep := self.pulls < expected:
                graph.append((images, logits))
            (g,) = torch.autograd.grad(logits, images, self._put(cotangent), retain_graph=keep, allow_unused=True)
            return np.zeros_like(x) if g is None else np.asarray(g.cpu().numpy())

        return graph[0][1].detach().cpu().numpy(), pull

    def _recorded(self, x: np.ndarray) -> tuple[Any, Any]:
        """Return the images and their logits, with the graph between them."""
        import torch

        images = self._put(x).requires_grad_()
        with torch.enable_grad():
            return images, self._tensor(images.clone())  # a copy, since layers that work in place can't change a leaf

    def _put(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(array).to(self.device)

    def _logits(self, images: Any) -> np.ndarray:
        logits: np.ndarray = self._tensor(images).cpu().numpy()
        return logits

    def _tensor(self, images: Any) -> Any:
        """Logits; in half precision, as autocast leaves them, NumPy knows no bfloat16 and a gradient no other type."""
        import torch

        try:
            outputs = self.module(images)
        except AdvbenchError:
            raise
        except Exception as error:  # whatever a module may say of images that it was not made for
            if BYTES.search(str(error)):
                said = " ".join(str(error).split())
                raise UsageError(f"the module failed: {type(error).__name__}: {said[:200]}; {AS_BYTES}") from error
            raise
        logits = picked(outputs, self.wanted)
        if not isinstance(logits, torch.Tensor):
            raise UsageError(f"the module returns {type(logits).__name__}, not a tensor: return its logits")
        self.given.add(str(logits.dtype).removeprefix("torch."))
        return logits.float() if logits.is_floating_point() else logits
