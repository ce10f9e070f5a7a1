"""Memory that an attack on many large images takes: `python benchmarks/large_data.py -n 1600 5600 50000`.

Images of 224x224 are made as they are asked for, by a function of their number, so that nothing but the library's own
use of memory is seen. The network is linear on pooled pixels: its memory is nothing, and every other image breaks.
Adversarial images take 0.3 MB for each image on the disk of TMPDIR; with `--out`, as much again twice.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import advbench
from advbench.core.lazy import Lazy
from advbench.data import Dataset

SIDE, POOL = 224, 32
CLASSES = 2


class Drawn(Lazy):
    """Images of noise around a grey that is brighter or darker than the middle, near it or far from it."""

    def one(self, index: int) -> np.ndarray:
        level = (100, 156, 126, 130)[index % 4]
        noise = np.random.default_rng(index).integers(-40, 41, self.shape[1:], np.int16)
        return (level + noise).astype(np.uint8)


def predict(weights: jax.Array, x: jax.Array) -> jax.Array:
    side = SIDE // POOL
    pooled = x.reshape(len(x), side, POOL, side, POOL, 3).mean((2, 4)).reshape(len(x), -1)
    return (pooled - 128 / 255) @ weights


def peak() -> float:
    """MB of memory, at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(n: int, batch_size: int, *, out: bool) -> dict[str, float]:
    features = (SIDE // POOL) ** 2 * 3
    weights = jnp.stack([-jnp.ones(features), jnp.ones(features)], 1)
    labels = (np.arange(n) % 2).astype(np.int32)
    data = Dataset("drawn", "test", Drawn((n, SIDE, SIDE, 3)), labels, ("dark", "bright"), "memory", "", n)
    model = jax.tree_util.Partial(predict, weights)
    jax.block_until_ready(model(jnp.zeros((batch_size, *data.shape))))
    before, clock = peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        result = advbench.evaluate(
            *(model, data),
            norm="linf",
            eps="8/255",
            attacks="fgsm",
            n=n,
            batch_size=batch_size,
            out=Path(scratch) / "run" if out else None,
        )
    seconds = time.perf_counter() - clock
    broken = result.clean.correct - result.robust.correct
    return {"n": n, "broken": broken, "model_mb": before, "peak_mb": peak(), "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", type=int, nargs="+", default=[1000, 4000])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--out", action="store_true", help="Keep a run directory, with a journal.")
    parser.add_argument("--one", action="store_true", help="Measure in this process, and print JSON.")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(asked.n[0], asked.batch_size, out=asked.out)))
        return
    print(
        "| images | broken | with the model alone, MB | peak, MB | above it, MB | seconds |\n|--:|--:|--:|--:|--:|--:|"
    )
    found = []
    for n in asked.n:  # a process each: a peak never falls
        command = [sys.executable, __file__, "-n", str(n), "--batch-size", str(asked.batch_size), "--one"]
        command += ["--out"] if asked.out else []
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        one = json.loads(done.stdout)
        above = one["peak_mb"] - one["model_mb"]
        found.append((n, above))
        print(
            f"| {n:,} | {one['broken']:,} | {one['model_mb']:.0f} | {one['peak_mb']:.0f} | {above:.0f} "
            f"| {one['seconds']:.0f} |",
            flush=True,
        )
    if len(found) > 1:
        (few, low), (many, high) = found[0], found[-1]
        each = 1024 * (high - low) / (many - few)
        print(f"\n{each:.2f} KB for each image more; one takes {SIDE * SIDE * 3 / 1024:.0f} KB as it is stored.")


if __name__ == "__main__":
    main()
