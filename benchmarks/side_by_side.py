"""Time this package beside PyTorch, torchattacks, Foolbox, ART and adv-lib on the same weights and images, on CPU.

`make bench` runs all of it and writes the tables to docs/benchmarks.md. Every contestant has a process of its own
(the scripts in `peers/`), the same threads and settings; repetitions are interleaved, and one judge scores everybody.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
from peers.agreement import put, typed, version
from peers.contest import CONTESTANTS, REFERENCE, Worker, install
from peers.rows import ROWS, race
from peers.tables import report
from safetensors.numpy import load_file

from advbench.core.images import pixels
from advbench.data import load

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / ".venv-peers"
RELEASED = ROOT / "advbench" / "models" / "released" / "mnist-pgd"
PAGE = ROOT / "docs" / "benchmarks.md"
LOGITS = 1e-4  # how far the ports' logits may differ


def main() -> int:
    asked = arguments()
    cores = sorted(os.sched_getaffinity(0))[: asked.threads]
    os.sched_setaffinity(0, cores)  # the contestants inherit it
    os.environ |= {"BENCH_THREADS": str(len(cores)), "OMP_NUM_THREADS": str(len(cores)), "JAX_PLATFORMS": "cpu"}
    contestants = dict(CONTESTANTS)
    if asked.reference:
        contestants |= REFERENCE
        os.environ |= {"BENCH_REFERENCE": str(asked.reference), "BENCH_REFERENCE_VERSION": version(asked.reference)}
    if asked.peers is None:
        install(ROOT, PEERS)
    python = (asked.peers or PEERS) / "bin" / "python"
    weights = load_weights(asked.model)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs(folder, weights)
        workers = {
            contestant: Worker(script, Path(sys.executable) if contestant == "advbench" else python, folder)
            for contestant, script in contestants.items()
        }
        agree(workers)
        results = []
        for row in ROWS:
            if asked.only in (None, row.name):
                results.append(race(row.smaller() if asked.quick else row, workers, asked.repetitions))
        results = [result for result in results if result.scores]
    command = f"python benchmarks/side_by_side.py {typed(sys.argv[1:])}" if sys.argv[1:] else "make bench"
    text, faults = report(results, workers, len(cores), command, asked.repetitions)
    print(text)
    if asked.only is None and not asked.quick:
        put(PAGE, "measured", text)
    for fault in faults:
        print(f"side by side: {fault}", file=sys.stderr)
    return 1 if faults else 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=RELEASED, help="run directory of a small-cnn for MNIST")
    parser.add_argument("--only", choices=[row.name for row in ROWS], help="one row; prints it and writes no file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all works; writes no file")
    parser.add_argument("--reference", type=Path, help="checkout of github.com/fra31/auto-attack, for its row")
    parser.add_argument("--peers", type=Path, help="an environment that holds the peers already; nothing is installed")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def load_weights(run: Path) -> dict[str, np.ndarray]:
    """Read the weights of a run that trained a small-cnn on MNIST; no other network is ported."""
    manifest = json.loads((run / "model.json").read_text())
    if (manifest["architecture"], manifest["shape"]) != ("small-cnn", [28, 28, 1]):
        raise SystemExit(f"{run} holds a {manifest['architecture']}; the side-by-side runs take a small-cnn for MNIST")
    return load_file(run / "model.safetensors")


def inputs(folder: Path, weights: dict[str, np.ndarray]) -> None:
    """Leave weights and images where every contestant finds them."""
    np.savez(folder / "weights.npz", **weights)
    for split, n in (("test", 10_000), ("train", 4_000)):
        data = load("mnist", split)
        np.savez(folder / f"{split}.npz", x=pixels(data.images[:n]), y=data.labels[:n].astype(np.int64))


def agree(workers: dict[str, Worker]) -> None:
    """Refuse to compare ports of the network that compute different things."""
    ours = workers["advbench"].logits("test", 256)
    for name, worker in workers.items():
        for tuned in (False, True):
            off = np.abs(worker.logits("test", 256, tuned) - ours).max()
            if not off <= LOGITS:
                raise SystemExit(f"the logits of {name} differ from ours by {off:.1e}: not the same network")


if __name__ == "__main__":
    raise SystemExit(main())
