"""Time networks that users bring, as PyTorch modules, ONNX files and plain JAX, beside PyTorch itself, on CPU.

Everything runs in one process by turns, on the same weights, images and threads. It needs PyTorch, which
`make test-integrations` installs into `.venv-integrations`; `make bench` runs it there.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

# Threads of one library that wait for work must not keep those of the other from it.
os.environ["OMP_WAIT_POLICY"] = "passive"
os.environ["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import torch
from optax.losses import softmax_cross_entropy_with_integer_labels as cross_entropy
from peers.agreement import put, typed
from peers.tables import machine, table
from peers.users import NETWORKS, SIDE, made, plain_jax
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import advbench
from advbench.api.settings import Settings
from advbench.api.subject import accelerated, model_and_data
from advbench.attacks import PGD
from advbench.core.loaded import LoadedModel
from advbench.core.norms import NORMS
from advbench.core.threat import Threat

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
THREADS = int(os.environ["OMP_NUM_THREADS"])
BATCH, STEPS, SUITE = 64, 10, 200
EPS, SIZE = 8 / 255, 0.25
CASES = "forward", "forward + input gradient", f"PGD, {STEPS} steps"
PEERS = "PyTorch", "PyTorch, tuned"

Job = Callable[[], Any]


class Way(NamedTuple):
    """A network by one way in."""

    name: str
    jobs: tuple[Job, Job, Job]  # one for each case
    attacked: str = ""  # what the record of a result says


def main() -> None:
    asked = arguments()
    torch.set_num_threads(THREADS)
    command, top = f"python benchmarks/your_network.py {typed(sys.argv[1:])}".strip(), peak()
    parts = [
        f"Measured {time.strftime('%Y-%m-%d')} by `{command}` on {machine()}, {THREADS} threads, medians of "
        f"{asked.repetitions} interleaved repetitions, compiled before; advbench {version('advbench')}, "
        f"jax {jax.__version__}, PyTorch {torch.__version__}.",
        f"Seconds for {BATCH} random images of {SIDE}x{SIDE}x3, random weights; in brackets the ratio to the faster of "
        f"PyTorch's two. The last column is the share of {top / 1e9:.0f} GFLOP/s, which PyTorch's product of two "
        "2048x2048 matrices reached in this run, that the multiplications of a forward pass come to.",
        table(["network", "way in", *CASES, "images standing", "of the peak"], rows(asked, top)),
    ]
    if asked.reference:
        told = f"AutoAttack `standard` on {SUITE} images, one run each with compilation; theirs is its authors' code:"
        parts += [told, table(["network", "ours s", "theirs s", "ratio", "ours standing", "theirs"], suites(asked))]
    if asked.start:
        parts += ["From typing to the end of a command, seconds:", table(["command", "seconds"], starts(asked))]
    text = "\n\n".join(parts)
    print(text)
    if not asked.print_only:
        put(PAGE, "users' networks", text)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", action="append", choices=NETWORKS, help="one of them; repeatable")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument(
        "--reference", type=Path, help="checkout of github.com/fra31/auto-attack, to time AutoAttack too"
    )
    parser.add_argument("--print-only", action="store_true", help="print the tables and write no file")
    parser.add_argument("--no-start", dest="start", action="store_false", help="don't time how commands start")
    return parser.parse_args()


def rows(asked: argparse.Namespace, top: float) -> list[list[str]]:
    """Lines of the table, all ways of a network by turns."""
    x = random_images(BATCH)
    lines = []
    for name in asked.network or NETWORKS:
        net = made(name)
        images = torch.tensor(x.transpose(0, 3, 1, 2).copy())
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            y = net(images).argmax(1)
        found = [*pytorch(name, images, y), *ours(name, net, x, y.numpy().astype(np.int32))]
        seconds = timed([job for way in found for job in way.jobs], asked.repetitions)
        best = np.min(np.reshape(seconds, (-1, len(CASES)))[: len(PEERS)], axis=0)
        for way, each in zip(found, np.reshape(seconds, (-1, len(CASES))), strict=True):
            own = way.name not in PEERS
            cells = [f"{s:.3f} ({s / b:.2f})" if own else f"{s:.3f}" for s, b in zip(each, best, strict=True)]
            standing = int((net(tensor(way.jobs[-1]())).argmax(1) == y).sum())
            title = f"{way.name}, {way.attacked}" if way.attacked else way.name
            lines.append([name, title, *cells, str(standing), f"{counter.get_total_flops() / each[0] / top:.0%}"])
            print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    return lines


def suites(asked: argparse.Namespace) -> list[list[str]]:
    """Lines of the table of AutoAttack, on the module as its user gives it."""
    sys.path.insert(0, str(asked.reference))
    from autoattack import AutoAttack

    lines = []
    for name in asked.network or NETWORKS:
        net, x = made(name), torch.tensor(random_images(SUITE).transpose(0, 3, 1, 2).copy())
        y = net(x).argmax(1)
        begun = time.perf_counter()
        result = advbench.evaluate(
            net, (x.numpy(), y.numpy()), norm="linf", eps=EPS, attacks="autoattack", preflight=False, doublings=0
        )
        middle = time.perf_counter()
        theirs = AutoAttack(net, norm="Linf", eps=EPS, seed=0, device="cpu", verbose=False)
        found = theirs.run_standard_evaluation(x, y, bs=SUITE)
        seconds = middle - begun, time.perf_counter() - middle
        left = int((net(found).argmax(1) == y).sum())
        cells = [f"{s:.1f}" for s in seconds]
        lines.append([name, *cells, f"{seconds[0] / seconds[1]:.2f}", str(result.robust.correct), str(left)])
        print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
    return lines


def random_images(n: int) -> np.ndarray:
    return (np.random.default_rng(0).integers(0, 256, (n, SIDE, SIDE, 3)) / 255).astype(np.float32)


def timed(jobs: Sequence[Job], repetitions: int) -> list[float]:
    """Medians; every job once, then every job again."""
    taken: list[list[float]] = [[] for _ in jobs]
    for turn in range(repetitions + 1):
        for job, own in zip(jobs, taken, strict=True):
            begun = time.perf_counter()
            jax.block_until_ready(job())
            if turn:  # the first compiles
                own.append(time.perf_counter() - begun)
    return [median(own) for own in taken]


def tensor(x: Any) -> Tensor:
    return torch.tensor(np.asarray(x).transpose(0, 3, 1, 2).copy())


def pytorch(name: str, x: Tensor, y: Tensor) -> list[Way]:
    """PyTorch as it comes, and with channels last."""
    return [Way(PEERS[0], by_hand(made(name), x, y)), Way(PEERS[1], by_hand(*last(made(name), x), y))]


def last(net: nn.Module, x: Tensor) -> tuple[nn.Module, Tensor]:
    return net.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)


def by_hand(net: nn.Module, x0: Tensor, y: Tensor) -> tuple[Job, Job, Job]:
    def forward() -> None:
        with torch.inference_mode():
            net(x0)

    def slope(x: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(nn.functional.cross_entropy(net(x), y, reduction="sum"), x)[0]

    def attack() -> np.ndarray:
        x = x0
        for _ in range(STEPS):
            x = x + SIZE * EPS * slope(x).sign()
            x = torch.min(torch.max(x, x0 - EPS), x0 + EPS).clamp(0, 1)
        adversarial: np.ndarray = x.detach().numpy().transpose(0, 2, 3, 1)
        return adversarial

    return forward, lambda: slope(x0), attack


def ours(name: str, net: nn.Module, x: np.ndarray, y: np.ndarray) -> list[Way]:
    """The module translated and as given, an ONNX file of it, and the same in plain JAX."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter
        path = Path(folder) / "net.onnx"
        batch = {"input": {0: "batch"}}
        torch.onnx.export(net, tensor(x[:2]), path, dynamo=False, input_names=["input"], dynamic_axes=batch)
        given = {"PyTorch module": (net, True), "PyTorch module, `--no-translate`": (net, False), "ONNX": (path, True)}
        if name == next(iter(NETWORKS)):
            given["plain JAX"] = plain_jax(net), True
        ways = []
        for way, (model, translate) in given.items():
            layout = "nchw" if way == "ONNX" else None
            settings = Settings(
                translate=translate, input_layout=layout, notify=lambda text: print(text, file=sys.stderr)
            )
            loaded, data = model_and_data(model, (x, y), settings)
            loaded = accelerated(loaded, data, settings)
            ways.append(Way(way, inside(loaded, x, y), loaded.execution.attacked if loaded.execution else ""))
        return ways


def inside(model: LoadedModel, x: np.ndarray, y: np.ndarray) -> tuple[Job, Job, Job]:
    images, labels, threat = jnp.asarray(x), jnp.asarray(y), Threat(NORMS["linf"], EPS)

    @jax.jit
    def forward(model: Any) -> Any:
        return model(images)

    @jax.jit
    def slope(model: Any) -> Any:
        return jax.grad(lambda x: cross_entropy(model(x), labels).sum())(images)

    attack = PGD(steps=STEPS, rel_step_size=SIZE, start="clean", keep=False)
    keys = jax.random.split(jax.random.key(0), len(x))
    return (
        lambda: forward(model.predict),
        lambda: slope(model.predict),
        lambda: attack(model.predict, threat, images, labels, keys).x,
    )


def peak() -> float:
    """Return the floating-point operations a second of a large matrix product."""
    a = torch.rand(2048, 2048)
    return 2 * 2048**3 / timed([lambda: a @ a], 5)[0]


def starts(asked: argparse.Namespace) -> list[list[str]]:
    """Lines of the table of commands, each in a new process, which finds compiled what it found before."""
    attack = ["attack", "mnist-pgd", "--attack", "pgd", "-n", "100"]
    commands = {
        "Python that imports typer alone": ["-c", "import typer"],
        "`advbench --help`": ["-m", "advbench", "--help"],
        f"`advbench {' '.join(attack)}`": ["-m", "advbench", *attack],
    }
    jobs = [partial(subprocess.run, [sys.executable, *words], capture_output=True) for words in commands.values()]
    return [[name, f"{s:.2f}"] for name, s in zip(commands, timed(jobs, asked.repetitions), strict=True)]


if __name__ == "__main__":
    main()
