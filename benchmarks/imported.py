"""Imported models beside the runtimes they come from: `imported.py N --reference DIR`.

The released MNIST network is put into PyTorch, Keras and a jax.export file, with identical weights. For each: how far
logits and input gradients are from the original runtime's, and how many of N test images stand against PGD and
AutoAttack here and there. PyTorch's own numbers come from torchattacks' PGD and from AutoAttack's authors' code (DIR: a
checkout of github.com/fra31/auto-attack at commit a392200). Needs torch, torchattacks and keras beside advbench.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("BENCH_THREADS", "1")
os.environ["ADVBENCH_NATIVE"] = "0"  # the native kernel can't be exported
sys.path.insert(0, str(Path(__file__).parent / "peers"))

import jax
import jax.numpy as jnp
import numpy as np
import torch
from network import images, small_cnn
from safetensors.numpy import load_file

from advbench.attacks.spec import attacks_of
from advbench.core.batches import Batches
from advbench.core.images import pixels
from advbench.core.loaded import LoadedModel
from advbench.core.preprocess import AS_IS, prepared
from advbench.core.spec import ThreatSpec
from advbench.data import load
from advbench.evaluation import evaluate
from advbench.evaluation.judge import Judge
from advbench.models import exported
from advbench.models.adapt import adapt
from advbench.models.load import RELEASED, load_model

NAME, EPS = "mnist-pgd", "0.3"
PGD = "pgd:steps=40,rel_step_size=0.0333"


def main() -> None:
    asked = arguments()
    torch.set_num_threads(asked.threads)
    native, weights = load_model(NAME), load_file(RELEASED / NAME / "model.safetensors")
    data = load("mnist", "test")
    x, y = pixels(data.images[: asked.n]), data.labels[: asked.n].astype(np.int32)
    module = small_cnn(weights).eval()
    models = {
        "PyTorch": (from_torch(native, module), lambda x: torch_side(module, x)),
        "Keras": (from_keras(native, weights), None),
        "jax.export": (from_export(native), None),
    }
    print("| runtime | logits differ by | input gradients differ by |\n|---|---:|---:|")
    for name, (model, original) in models.items():
        print(f"| {name} | {' | '.join(f'{gap:.1e}' for gap in gaps(model, original or ours(native), x[:32]))} |")
    print("\n| attack | model | code | standing | same verdicts | seconds |\n|---|---|---|---:|---:|---:|", flush=True)
    threat = ThreatSpec.parse("linf", EPS)
    judge = Judge(models["PyTorch"][0].predict, threat, Batches(asked.n), asked.n)
    for attack, theirs in {PGD: torchattacks_pgd, asked.attack: reference(asked)}.items():
        begun = time.perf_counter()
        stands = ~judge(x, y, theirs(module, x, y)).broken
        show(attack, "PyTorch", theirs.__name__, stands, stands, begun)
        for name, model in {"native": native, **{name: model for name, (model, _) in models.items()}}.items():
            begun = time.perf_counter()
            result = evaluate(
                model, data, range(asked.n), attacks_of([attack], threat), threat, seed=0, batch_size=asked.n
            )
            show(attack, name, "advbench", np.array([row.robust for row in result.rows]), stands, begun)


def show(attack: str, model: str, code: str, robust: np.ndarray, other: np.ndarray, begun: float) -> None:
    same, seconds = int((robust == other).sum()), time.perf_counter() - begun
    print(f"| {attack} | {model} | {code} | {robust.sum()} | {same} | {seconds:.0f} |", flush=True)


def from_torch(native: LoadedModel, module: torch.nn.Module) -> LoadedModel:
    made = adapt(module, "small_cnn")
    return prepared(replace(native, predict=made.predict, digest="torch"), AS_IS, made.layouts)


def from_export(native: LoadedModel) -> LoadedModel:
    batch = jax.export.symbolic_shape("b")
    shape = jax.ShapeDtypeStruct((*batch, *native.shape), jnp.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{exported.SUFFIX}"
        path.write_bytes(jax.export.export(jax.jit(native.predict))(shape).serialize(vjp_order=1))
        return replace(native, predict=exported.load(path).predict, digest="exported")


def from_keras(native: LoadedModel, w: dict[str, np.ndarray]) -> LoadedModel:
    import keras

    layers = keras.layers
    conv = [layers.Conv2D(channels, 3, activation="relu") for channels in (32, 32, 64, 64)]
    dense = [layers.Dense(200, "relu"), layers.Dense(200, "relu"), layers.Dense(10)]
    pool = [layers.MaxPooling2D(), layers.MaxPooling2D()]
    head = [layers.Flatten(), dense[0], layers.Dropout(0.5), *dense[1:]]
    net = keras.Sequential([layers.Input(native.shape), *conv[:2], pool[0], *conv[2:], pool[1], *head])
    names = [f"convs.{i}" for i in range(4)] + ["fc1", "fc2", "fc3"]
    net.set_weights([w[f"{name}.{part}"] for name in names for part in ("kernel", "bias")])
    return replace(native, predict=adapt(net, "keras").predict, digest="keras")


Side = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def gaps(model: LoadedModel, original: Side, x: np.ndarray) -> list[float]:
    """Largest difference of logits and of gradients, of the largest of each."""
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(ours(model)(x), original(x), strict=True)]


def ours(model: LoadedModel) -> Side:
    slope = jax.jit(lambda model, x: (model(x), jax.grad(lambda x: jax.nn.logsumexp(model(x), -1).sum())(x)))
    return lambda x: tuple(map(np.asarray, slope(model.predict, x)))


def torch_side(module: torch.nn.Module, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    leaf = tensor(x).requires_grad_()
    logits = module(leaf)
    return logits.detach().numpy(), images(torch.autograd.grad(logits.logsumexp(-1).sum(), leaf)[0])


def tensor(x: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(x.transpose(0, 3, 1, 2)))


def torchattacks_pgd(module: torch.nn.Module, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    import torchattacks

    torch.manual_seed(0)
    attack = torchattacks.PGD(module, eps=float(EPS), alpha=0.01, steps=40, random_start=True)
    return images(attack(tensor(x), torch.tensor(y).long()))


def reference(asked: argparse.Namespace) -> Callable[..., np.ndarray]:
    def auto_attack(module: torch.nn.Module, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        sys.path.insert(0, str(asked.reference))
        from autoattack import AutoAttack

        attacker = AutoAttack(module, norm="Linf", eps=float(EPS), seed=0, device="cpu", verbose=False)
        if asked.only:
            attacker.attacks_to_run = [asked.only]
        return images(attacker.run_standard_evaluation(tensor(x), torch.tensor(y).long(), bs=asked.n))

    return auto_attack


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("n", type=int, help="the first so many test images of MNIST")
    parser.add_argument("--reference", type=Path, required=True, help="checkout of github.com/fra31/auto-attack")
    parser.add_argument("--attack", default="autoattack", help="ours, in place of the whole suite")
    parser.add_argument("--only", help="the same of the reference, like apgd-ce")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
