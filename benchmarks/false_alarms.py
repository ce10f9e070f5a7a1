"""Which masking flags honest networks raise, where none may be invalid: `python benchmarks/false_alarms.py [--full]`.

The released networks, those of known robustness in `../shared/oracles`, and any run directory that is named.
"""

import argparse
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from advbench.cli.runtime import prepare
from advbench.data import load
from advbench.evaluation.images import pixels
from advbench.masking import examine_masking
from advbench.models.load import LoadedModel, load_model, released
from advbench.models.ops import conv2d
from advbench.spec import ThreatSpec

ORACLES = Path(__file__).parents[2] / "shared" / "oracles"
PROVEN = {"mnist_wk17a": "0.1", "mnist_cnn_a_adv": "0.3", "cifar10_cnn_a_adv": "2/255"}
SEEN = 128


def proven(name: str) -> LoadedModel:
    with np.load(ORACLES / f"{name}.npz", allow_pickle=False) as file:
        weights = {key: jnp.asarray(value) for key, value in file.items() if not key.startswith("reference")}
    data = name.partition("_")[0]
    shape = (28, 28, 1) if data == "mnist" else (32, 32, 3)
    record = {"threat": {"norm": "linf", "eps": PROVEN[name]}}
    return LoadedModel(name, jax.tree_util.Partial(network, weights), shape, 10, data, name, record)


def network(w: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    x = (x - w["mean"]) / w["std"]
    for layer in ("conv1", "conv2"):
        kernel, bias = w[f"{layer}_kernel"], w[f"{layer}_bias"]
        x = jax.nn.relu(conv2d(x, kernel, stride=2, padding=((1, 1), (1, 1))) + bias)
    x = jax.nn.relu(x.reshape(len(x), -1) @ w["fc1_kernel"] + w["fc1_bias"])
    return x @ w["fc2_kernel"] + w["fc2_bias"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="more of them, as for `advbench attack`")
    parser.add_argument("--only", action="store_true", help="the named ones alone")
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    prepare()
    models = [load_model(name) for name in arguments.models]
    if not arguments.only:
        models += [load_model(name) for name in released()]
        models += [proven(name) for name in PROVEN if ORACLES.is_dir()]
    print("| model | threat | flags | invalid | seconds |\n|---|---|---|---|---|")
    for model in models:
        data = load(str(model.dataset), "test")
        threat = ThreatSpec.parse(**model.record["threat"])
        images = pixels(data.images[: 1000 if arguments.full else SEEN])
        clock = time.perf_counter()
        flags = examine_masking(
            model, images, data.labels[: len(images)], threat, seed=0, batch_size=64, full=arguments.full
        )
        taken = time.perf_counter() - clock
        told = [f"{f.name} ({f.evidence.get('missed', '-')} of {f.evidence.get('n', '-')})" for f in flags]
        raised = ", ".join(told) or "none"
        invalid = sum(flag.level == "invalid" for flag in flags)
        print(f"| {model.name} | {threat} | {raised} | {invalid} | {taken:.0f} |", flush=True)


if __name__ == "__main__":
    main()
