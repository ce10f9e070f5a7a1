"""Time adversarial training of residual networks beside PyTorch, on CPU.

Both train in one process by turns, from the same weights, on the same images. It needs PyTorch, which
`make test-integrations` installs into `.venv-integrations`; `make bench` runs it there.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from statistics import mean, median

# Threads of one library that wait for work must not keep those of the other from it.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import numpy as np
import torch
from flax import nnx
from peers import residual
from peers.agreement import put, typed
from peers.tables import machine, table
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from advbench.attacks import NORMS, Threat
from advbench.core.ambient import own_settings
from advbench.defenses import DEFENSES, Defense
from advbench.defenses.batches import shuffled
from advbench.defenses.recipe import Recipe
from advbench.defenses.trainer import Trainer
from advbench.nn import create

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
THREADS = int(os.environ["OMP_NUM_THREADS"])
TRAIN, SIDE, CLASSES = 50_000, 32, 10  # CIFAR-10
EPS, LR, DECAY = 8 / 255, 0.02, 5e-4
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "preact-resnet18": residual.PreActResNet18,
    "resnet14": lambda: residual.ResNet(14, 48),
}
STEP = 0.25  # of PGD, in units of eps
DEFENDING: dict[str, Defense] = {
    "N-FGSM": DEFENSES["n-fgsm"](),
    "PGD-10": DEFENSES["pgd"](steps=10, rel_step_size=STEP),
}
Job = Callable[[], float]  # one step, to its loss


def main() -> None:
    asked = arguments()
    torch.set_num_threads(THREADS)
    with own_settings():
        lines = rows(asked)
    command = f"python benchmarks/epochs.py {typed(sys.argv[1:])}".strip()
    told = f"{asked.steps} steps of batches of {asked.batch} images, {asked.turn} steps of each by turns"
    parts = [
        f"Measured {time.strftime('%Y-%m-%d')} by `{command}` on {machine()}, {THREADS} threads, {told}, medians; "
        f"advbench {version('advbench')}, jax {jax.__version__}, PyTorch {torch.__version__}.",
        f"Seconds for an epoch of {TRAIN:,} images of {SIDE}x{SIDE}x3, scaled from the steps; SGD with momentum, crops "
        "and mirrors. The last columns are the mean loss over the last quarter of the steps.",
        table(["network", "training", "ours s", "PyTorch s", "ratio", "ours loss", "PyTorch loss"], lines),
    ]
    text = "\n\n".join(parts)
    print(text)
    if not asked.print_only:
        put(PAGE, "epochs", text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="one of them; repeatable")
    parser.add_argument("--training", action="append", choices=DEFENDING, help="one of them; repeatable")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--turn", type=int, default=5, help="steps of one before those of the other")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--print-only", action="store_true", help="print the table and write no file")
    return parser.parse_args()


def rows(asked: argparse.Namespace) -> list[list[str]]:
    """Lines of the table."""
    lines = []
    for network in asked.network or NETWORKS:
        for name in asked.training or DEFENDING:
            jobs = ours(network, DEFENDING[name], asked), pytorch(network, name, asked)
            seconds, losses = timed(jobs, asked.steps, asked.turn)
            epoch = [TRAIN / asked.batch * each for each in seconds]
            last = [f"{mean(each[-(-3 * asked.steps // 4) :]):.3f}" for each in losses]
            lines.append([network, name, *(f"{s:.1f}" for s in epoch), f"{epoch[0] / epoch[1]:.2f}", *last])
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    return lines


def timed(jobs: tuple[Job, Job], steps: int, turn: int) -> tuple[list[float], list[list[float]]]:
    """Median seconds of a step, and losses of all steps, of each."""
    taken: list[list[float]] = [[], []]
    losses: list[list[float]] = [[], []]
    for own in losses:
        own.append(jobs[losses.index(own)]())  # compiles
    for _ in range(0, steps, turn):
        for job, spent, own in zip(jobs, taken, losses, strict=True):
            begun = time.perf_counter()
            own += [job() for _ in range(turn)]
            spent.append((time.perf_counter() - begun) / turn)
    return [median(spent) for spent in taken], losses


def data(asked: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Coarse patterns, one for each class, under noise: learnable, but not at once."""
    rng = np.random.default_rng(0)
    count = (asked.steps + 2) * asked.batch
    labels = rng.integers(0, CLASSES, count)
    patterns = np.kron(rng.normal(size=(CLASSES, 4, 4, 3)), np.ones((1, SIDE // 4, SIDE // 4, 1)))
    noise = rng.normal(size=(count, SIDE, SIDE, 3), scale=2).astype(np.float32)
    images = np.clip(128 + 32 * (patterns[labels] + noise), 0, 255).astype(np.uint8)
    return images, labels.astype(np.int32)


def ours(network: str, defense: Defense, asked: argparse.Namespace) -> Job:
    """A step of this package's trainer, as `advbench train` takes it."""
    images, labels = data(asked)
    recipe = Recipe(
        epochs=1, batch_size=asked.batch, optimizer="sgd", lr=LR, schedule="constant", weight_decay=DECAY,
        augment="crop-flip", validation=asked.batch,
    )  # fmt: skip
    threat = Threat(NORMS["linf"], EPS)
    module = create(network, shape=images.shape[1:], classes=CLASSES, seed=0)
    trainer = Trainer(module, defense, threat, images, labels, recipe, lambda: None, ())
    order = shuffled(trainer.data, trainer.streams, 0)
    return lambda: float(jax.block_until_ready(trainer.advance(order))["loss"])


def pytorch(network: str, name: str, asked: argparse.Namespace) -> Job:
    """The loop of a PyTorch user who knows `channels_last`."""
    images, labels = data(asked)
    module = create(network, shape=images.shape[1:], classes=CLASSES, seed=0)
    state = nnx.state(module, nnx.Any(nnx.Param, nnx.BatchStat))
    net = NETWORKS[network]()
    residual.fill(net, {".".join(map(str, path)): np.asarray(leaf[...]) for path, leaf in nnx.to_flat_state(state)})
    net = net.to(memory_format=torch.channels_last)
    sgd = torch.optim.SGD(net.parameters(), LR, momentum=0.9, weight_decay=DECAY, nesterov=True)
    x, y = torch.tensor(images.transpose(0, 3, 1, 2).copy()), torch.tensor(labels, dtype=torch.int64)
    batches = iter(torch.randperm(len(x)).split(asked.batch))

    def step() -> float:
        chosen = next(batches)
        clean, true = cropped(x[chosen]).contiguous(memory_format=torch.channels_last), y[chosen]
        net.eval()
        found = noise_fgsm(net, clean, true) if name == "N-FGSM" else pgd(net, clean, true)
        net.train()
        sgd.zero_grad()
        loss = cross_entropy(net(found), true)
        loss.backward()
        sgd.step()
        return loss.item()

    return step


def cropped(images: Tensor) -> Tensor:
    """Crop a batch at random after padding by 4, and mirror half of it: bytes to floats in [0, 1]."""
    n = len(images)
    top, left = torch.randint(0, 9, (2, n, 1))
    rows, columns = top + torch.arange(SIDE), left + torch.arange(SIDE)
    columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
    found = pad(images, (4, 4, 4, 4))[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None]]
    return found.permute(0, 3, 1, 2).float() / 255


def slope(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(cross_entropy(net(x), y, reduction="sum"), x)[0]


def noise_fgsm(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    noisy = x + torch.empty_like(x).uniform_(-2 * EPS, 2 * EPS)
    return (noisy + EPS * slope(net, noisy, y).sign()).clamp(0, 1).detach()


def pgd(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    found = (x + torch.empty_like(x).uniform_(-EPS, EPS)).clamp(0, 1)
    for _ in range(10):
        found = found + STEP * EPS * slope(net, found, y).sign()
        found = torch.min(torch.max(found, x - EPS), x + EPS).clamp(0, 1)
    return found.detach()


if __name__ == "__main__":
    main()
