"""Whether ONNX models translated to JAX give PyTorch's logits and input gradients, and how fast.

python benchmarks/peers/export_onnx.py FOLDER       (where torch and torchvision are)
python benchmarks/translated.py FOLDER              (where advbench, onnx and onnxruntime are)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from advbench.core.errors import UsageError
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import Preprocess
from advbench.models.load import load_model
from advbench.onnx.check import compare

ROW = "| {:28} | {:>9} | {:>9} | {:>9} | {:>11} | {:>11} | {:>9} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="with NAME-EXPORTER.onnx and NAME.npz")
    parser.add_argument("--time", action="store_true", help="time a pass too, best of five")
    arguments = parser.parse_args()
    print(ROW.format("model", "logits", "gradient", "runtime", "forward, ms", "+ grad, ms", "load, s"))
    print(ROW.format(*["---"] * 7))
    for path in sorted(arguments.folder.glob("*.onnx")):
        started = time.perf_counter()
        try:
            model = load_model(str(path), Preprocess("nchw"))
        except UsageError as error:
            print(f"| {path.name}: {error}")
            continue
        loading = time.perf_counter() - started
        print(
            ROW.format(path.stem, *errors(path, model), *times(path, model, arguments.time), f"{loading:.1f}"),
            flush=True,
        )


def errors(path: Path, model: LoadedModel) -> tuple[str, str, str]:
    """Largest difference over largest magnitude: logits and gradients against PyTorch's, and ONNX Runtime's verdict."""
    true = np.load(path.parent / f"{path.stem.rsplit('-', 1)[0]}.npz")
    x = true["x"].transpose(0, 2, 3, 1)
    logits, gradient = _with_gradient(model.predict, x, true["cotangent"])
    graph = model.predict.predict.network.func  # type: ignore[attr-defined]
    flag = compare(path, graph, model, x)
    agrees = "agrees" if flag is None else flag.message
    return _off(logits, true["logits"]), _off(np.asarray(gradient).transpose(0, 3, 1, 2), true["gradient"]), agrees


def times(path: Path, model: LoadedModel, wanted: bool) -> tuple[str, str]:
    if not wanted:
        return "", ""
    true = np.load(path.parent / f"{path.stem.rsplit('-', 1)[0]}.npz")
    x = np.tile(true["x"].transpose(0, 2, 3, 1), (4, 1, 1, 1))
    cotangent = np.tile(true["cotangent"], (4, 1))
    forward = jax.jit(lambda model, x: model(x))
    both = [lambda: forward(model.predict, x), lambda: _with_gradient(model.predict, x, cotangent)]
    return tuple(f"{_best(run):.1f}" for run in both)  # type: ignore[return-value]


@jax.jit
def _with_gradient(model: Any, x: Any, cotangent: Any) -> Any:
    logits, pull = jax.vjp(model, x)
    return logits, pull(cotangent)[0]


def _best(run: Callable[[], Any]) -> float:
    jax.block_until_ready(run())
    taken = []
    for _ in range(5):
        started = time.perf_counter()
        jax.block_until_ready(run())
        taken.append(time.perf_counter() - started)
    return 1000 * min(taken)


def _off(got: Any, true: np.ndarray) -> str:
    return f"{np.abs(np.asarray(got) - true).max() / np.abs(true).max():.1e}"


if __name__ == "__main__":
    main()
