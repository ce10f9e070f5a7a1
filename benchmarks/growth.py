"""Growth of time and memory with images and classes: `python benchmarks/growth.py --write`.

Every row has a process of its own, since a peak of memory never falls. The network is linear on pooled pixels and eps
is too small to break an image, so that every attack of the suite works on every image: what grows is our own doing.
The first batch is attacked beforehand, to compile. `--write` puts the table into docs/benchmarks.md.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from peers.agreement import put, typed
from peers.tables import machine

from advbench.attacks.spec import AttackSpec
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.evaluation import evaluate

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"
SHAPE, POOL = (32, 32, 3), 4
EPS = "0.001/255"
ATTACKS = ("apgd:steps=5", "apgd:loss=dlr,targets=9,steps=5", "fab:targets=9,steps=5", "square:queries=50")
BATCH = 100
IMAGES, CLASSES = (100, 1000, 10_000), (10, 100, 1000)
USUAL = 10, 1000  # classes while images grow, images while classes grow


class Measured(NamedTuple):
    """One row: CPU seconds, MB before the evaluation (model, data, programs), and the MB by which the peak rose."""

    images: int
    classes: int
    seconds: float
    before: float
    rise: float


def predict(weights: jax.Array, x: jax.Array) -> jax.Array:
    side = SHAPE[0] // POOL
    return x.reshape(len(x), side, POOL, side, POOL, 3).mean((2, 4)).reshape(len(x), -1) @ weights


def peak() -> float:
    """Return the most memory so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if platform.system() == "Linux" else 1 << 20)


def measure(n: int, classes: int) -> Measured:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (n, *SHAPE), np.uint8)
    weights = jnp.asarray(rng.normal(size=((SHAPE[0] // POOL) ** 2 * 3, classes)), jnp.float32)
    model = LoadedModel("pooled", jax.tree_util.Partial(predict, weights), SHAPE, classes, None, "pooled")
    parts = (images[at : at + BATCH].astype(np.float32) / 255 for at in range(0, n, BATCH))
    labels = np.concatenate([np.asarray(predict(weights, part).argmax(-1)) for part in parts]).astype(np.int32)
    data = Dataset("noise", "test", images, labels, tuple(map(str, range(classes))), "memory", "", n)
    threat = ThreatSpec.parse("linf", EPS)
    attacks = [AttackSpec.parse(each, threat) for each in ATTACKS]
    evaluate(model, data, range(BATCH), attacks, threat, seed=0, batch_size=BATCH)
    before, clock = peak(), time.process_time()
    result = evaluate(model, data, range(n), attacks, threat, seed=0, batch_size=BATCH)
    seconds = time.process_time() - clock
    if result.robust.correct < 0.99 * n:
        raise SystemExit(f"{n - result.robust.correct} of {n} images are broken: the rows do the same work no more")
    return Measured(n, classes, seconds, before, peak() - before)


def table(rows: list[Measured], command: str) -> str:
    """Write the rows as a Markdown section."""
    least = min(rows, key=lambda row: row.images * row.classes)
    lines = [
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} by `{command}` on {machine()}.",
        "",
        "| images | classes | CPU s | ms an image | MB before | rise of the peak, MB | KB for each further image |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        further, each = row.images - least.images, ""
        if row.classes == least.classes and further:
            each = f"{1024 * (row.rise - least.rise) / further:.2f}"
        pace = 1000 * row.seconds / row.images
        lines.append(
            f"| {row.images:,} | {row.classes:,} | {row.seconds:.2f} | {pace:.2f} | {row.before:.0f} "
            f"| {row.rise:.0f} | {each} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=IMAGES, help="numbers of images, with 10 classes")
    parser.add_argument("--classes", type=int, nargs="+", default=CLASSES, help="numbers of classes, with 1,000 images")
    parser.add_argument("--one", type=int, nargs=2, help="measure one row in this process, and print JSON")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(*asked.one)))
        return
    sizes = [(n, USUAL[0]) for n in asked.images] + [(USUAL[1], k) for k in asked.classes]
    rows = []
    for n, classes in dict.fromkeys(sizes):
        command = [sys.executable, __file__, "--one", str(n), str(classes)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(Measured(*json.loads(done.stdout.splitlines()[-1])))
        print(rows[-1], file=sys.stderr, flush=True)
    text = table(rows, f"python benchmarks/growth.py {typed(sys.argv[1:])}".strip())
    print(text)
    if asked.write:
        put(PAGE, "growth", text)


if __name__ == "__main__":
    main()
