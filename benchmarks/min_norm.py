"""Our minimum-norm and decision attacks beside Foolbox's and adv-lib's: how near the images are, and in what time.

`min_norm.py --write` puts the table into docs/parity.md. Same weights, images and settings, and one judge for all.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peers.agreement import put, table
from peers.contest import CONTESTANTS, Worker, install
from peers.rows import distances
from peers.tables import machine
from safetensors.numpy import load_file

from advbench.core.images import pixels
from advbench.data import load
from advbench.models.load import RELEASED, load_model

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
PAGE = ROOT / "docs" / "parity.md"
LOGITS = 1e-4


@dataclass(frozen=True)
class Contest:
    """An attack, in which norm, against whom, how."""

    row: str
    norm: str
    peers: tuple[str, ...]
    settings: dict[str, Any]
    part: int = 1  # only one in so many of the images: for the slow ones

    @property
    def title(self) -> str:
        numbers = ", ".join(f"{name} {value:g}" for name, value in self.settings.items())
        return f"{self.row}, {self.norm}, {numbers}"


SEARCH = {"rounds": 9, "steps": 100, "lr": 0.05, "c": 0.1}
CONTESTS = (
    Contest("deepfool", "l2", ("Foolbox",), {"steps": 50}),
    Contest("deepfool", "linf", ("Foolbox",), {"steps": 50}),
    Contest("ddn", "l2", ("Foolbox", "adv-lib"), {"steps": 100}),
    Contest("fmn", "linf", ("adv-lib",), {"steps": 100}),
    Contest("fmn", "l2", ("adv-lib",), {"steps": 100}),
    Contest("fmn", "l1", ("adv-lib",), {"steps": 100}),
    Contest("fmn", "l0", ("adv-lib",), {"steps": 100}),
    Contest("cw-search", "l2", ("Foolbox",), SEARCH),
    Contest("ead", "l1", ("Foolbox",), SEARCH),
    Contest("boundary", "l2", ("Foolbox",), {"steps": 2000}, part=5),
    Contest("hopskipjump", "l2", ("Foolbox",), {"steps": 20}, part=5),
    Contest("hopskipjump", "linf", ("Foolbox",), {"steps": 20}, part=5),
)


def main() -> int:
    asked = arguments()
    cores = sorted(os.sched_getaffinity(0))[: asked.threads]
    os.sched_setaffinity(0, cores)
    os.environ |= {"BENCH_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "JAX_PLATFORMS": "cpu"}
    if asked.peers is None:
        install(ROOT, PEERS)
    contests = [c for c in CONTESTS if asked.only in (None, c.row)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder, asked.model, asked.n)
        workers = start(folder, contests, (asked.peers or PEERS) / "bin" / "python")
        lines, missing = [], []
        for contest in contests:
            if contest.row not in workers["advbench"].rows:
                missing.append(contest.title)
                continue
            n = max(2, asked.n // contest.part)
            results = {who: compete(contest, workers, who, n) for who in ("advbench", *contest.peers)}
            for peer in contest.peers:
                lines.append(line(contest, n, peer, results["advbench"], results[peer]))
                print(" | ".join(lines[-1]), file=sys.stderr, flush=True)
        versions = ", ".join(f"{k} {v}" for w in workers.values() for k, v in w.versions.items())
    head = ["", "images", "beside", "ours fools", "it fools", "median ratio", "nearer", "farther", "ours s", "its s"]
    text = "\n\n".join(
        [
            f"Measured {time.strftime('%Y-%m-%d')} on {asked.model}, the first {asked.n} test images (where fewer are "
            f"given, the first of these), {machine()}, {len(cores)} threads each. Versions: {versions}.",
            table(head, lines),
        ]
    )
    print(text)
    if asked.write:
        put(PAGE, "min-norm", text)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mnist-pgd", help="released, or a run directory: small-cnn, resnet8")
    parser.add_argument("-n", type=int, default=50, help="images")
    parser.add_argument("--only", choices=sorted({c.row for c in CONTESTS}), help="one attack")
    parser.add_argument("--peers", type=Path, help="an environment that holds the peers already; nothing is installed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--write", action="store_true", help="put the table into docs/parity.md")
    return parser.parse_args()


def inputs(folder: Path, spec: str, n: int) -> None:
    """Leave the weights, and the first n images that the model gets right, where every contestant finds them."""
    model = load_model(spec)
    data = load(model.dataset, "test")
    data.require(2 * n)
    x, y = pixels(data.images[: 2 * n]), data.labels[: 2 * n].astype(np.int64)
    right = np.flatnonzero(np.asarray(model.predict(x)).argmax(1) == y)[:n]
    np.savez(folder / "test.npz", x=x[right], y=y[right])
    run = Path(spec) if Path(spec).is_dir() else RELEASED / spec
    np.savez(folder / "weights.npz", **load_file(run / "model.safetensors"))


def start(folder: Path, contests: Sequence[Contest], python: Path) -> dict[str, Worker]:
    """Ours and the peers that are needed; each must compute the same logits."""
    pythons = {"advbench": Path(sys.executable)}
    pythons |= {peer: python for contest in contests for peer in contest.peers}
    workers = {name: Worker(CONTESTANTS[name], home, folder) for name, home in pythons.items()}
    few = len(np.load(folder / "test.npz")["y"])
    ours = workers["advbench"].logits("test", few)
    for name, worker in workers.items():
        if not (off := np.abs(worker.logits("test", few) - ours).max()) <= LOGITS:
            raise SystemExit(f"the logits of {name} differ from ours by {off:.1e}: not the same network")
    return workers


def compete(contest: Contest, workers: dict[str, Worker], who: str, n: int) -> tuple[np.ndarray, float]:
    """Distances of what one contestant found, inf where it found nothing, and its seconds."""
    settings = contest.settings | {"norm": contest.norm, "batch": n}
    seconds, x_adv = workers[who].time(
        contest.row, tuned=who != "advbench", images="test", n=n, settings=settings, warm=True
    )
    return distances(workers["advbench"], x_adv, contest.norm, n), seconds


def line(
    contest: Contest, n: int, peer: str, ours: tuple[np.ndarray, float], theirs: tuple[np.ndarray, float]
) -> list[str]:
    """One line of the table; ratios below 1 are ours the nearer, over images that both fool."""
    (a, a_seconds), (b, b_seconds) = ours, theirs
    both = np.isfinite(a) & np.isfinite(b)
    ratio = a[both] / np.maximum(b[both], 1e-12)
    found = [f"{int(np.isfinite(d).sum())}" for d in (a, b)]
    shares = [f"{(ratio < 0.99).mean():.0%}", f"{(ratio > 1.01).mean():.0%}"] if both.any() else ["", ""]
    median = f"{np.median(ratio):.3f}" if both.any() else ""
    return [contest.title, str(n), peer, *found, median, *shares, f"{a_seconds:.2f}", f"{b_seconds:.2f}"]


if __name__ == "__main__":
    raise SystemExit(main())
