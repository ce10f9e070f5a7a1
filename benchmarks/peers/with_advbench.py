"""advbench itself, through its public API."""

import tempfile
import time
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from worker import Job, serve

import advbench
from advbench.attacks import (
    CW,
    FGSM,
    NORMS,
    PGD,
    Attack,
    Threat,
    losses,
)
from advbench.attacks.spec import AttackSpec, attacks_of
from advbench.core.loaded import LoadedModel
from advbench.core.spec import ThreatSpec
from advbench.data import Dataset
from advbench.defenses import DEFENSES
from advbench.defenses.base import predict
from advbench.defenses.metrics import Listener, Record
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import fit
from advbench.evaluation import evaluate
from advbench.evaluation.run import load_images
from advbench.nn import create, native
from advbench.nn.frozen import freeze


def forward(job: Job):
    return plain(job, lambda model, x, y: predict(model, x))


def gradient(job: Job):
    return plain(job, input_gradient)


@jax.jit
def input_gradient(model, x, y):
    return losses.input_gradient(model, losses.cross_entropy, x, y)[0]


def plain(job: Job, run):
    model = freeze(network(job))

    def work() -> None:
        jax.block_until_ready([run(model, *part) for part in portions(job)])

    return work


def fgsm(job: Job):
    return attack(job, FGSM(keep=False), "linf", job.settings["eps"])


def pgd(job: Job):
    s = job.settings
    # keep=False: walk on after success and return the last iterate, which is what the peers do
    return attack(job, PGD(steps=s["steps"], rel_step_size=s["step"] / s["eps"], keep=False), "linf", s["eps"])


def cw(job: Job):
    s = job.settings
    attacker = CW(rounds=1, steps=s["steps"], lr=s["lr"], c=s["c"], abort_early=False)
    return attack(job, attacker, "l2", float(job.x[0].size))  # a ball that holds the whole pixel box


def attack(job: Job, attacker: Attack, norm: str, eps: float):
    model, threat = freeze(network(job)), Threat(NORMS[norm], eps)
    keys = jax.random.split(jax.random.key(0), len(job.x) + job.settings["batch"])

    def work() -> np.ndarray:
        proposals = [
            attacker(model, threat, x, y, keys[i * len(x) : (i + 1) * len(x)]).x
            for i, (x, y) in enumerate(portions(job))
        ]
        return np.concatenate(proposals)[: len(job.x)]

    return work


SPECS = {
    "apgd": "apgd:steps={steps}",
    "fab": "fab:steps={steps}",
    "square": "square:queries={queries}",
    "deepfool": "deepfool:steps={steps}",
    "ddn": "ddn:steps={steps}",
    "fmn": "fmn:steps={steps}",
    "ead": "ead:rounds={rounds},steps={steps},lr={lr},c={c}",
    "cw-search": "cw:rounds={rounds},steps={steps},lr={lr},c={c}",
    "boundary": "boundary:steps={steps}",
    "hopskipjump": "hopskipjump:steps={steps}",
}
"""Our attacks as they would be typed, with the job's settings."""


def typed(job: Job, text: str):
    """An attack by what is typed for it; without eps, in a ball that holds every image: it finds the nearest."""
    s = job.settings
    norm, size = s["norm"], job.x[0].size
    eps = s.get("eps", 0.999999 if norm == "linf" else size)
    attacker = AttackSpec.parse(text.format(**s), ThreatSpec.parse(norm, str(eps))).attack
    return attack(job, attacker, norm, float(eps))


def autoattack(job: Job):
    """The suite as the evaluator runs it: each attack, and each of its runs, on what still stands."""
    s, n = job.settings, len(job.y)
    threat = ThreatSpec.parse(s["norm"], str(s["eps"]))
    model = LoadedModel("model", freeze(network(job)), job.x.shape[1:], 10, None, digest="")
    pixels = np.round(job.x * 255).astype(np.uint8)
    data = Dataset("data", "test", pixels, job.y.astype(np.int32), tuple("0123456789"), "memory", "", n)

    def work() -> np.ndarray:
        x_adv = job.x.copy()
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder) / "run"
            attacks = attacks_of(["autoattack"], threat)
            evaluate(model, data, range(n), attacks, threat, seed=0, batch_size=s["batch"], out=run)
            found = load_images(run)
        x_adv[found.index] = found.x_adv
        return x_adv

    return work


def fast_epoch(job: Job):
    return epoch(job, DEFENSES["fgsm-rs"](rel_step_size=job.settings["step"] / job.settings["eps"]))


def pgd_epoch(job: Job):
    s = job.settings
    return epoch(job, DEFENSES["pgd"](steps=s["steps"], rel_step_size=s["step"] / s["eps"]))


def epoch(job: Job, defense):
    """Fit once over the job's images; what is timed ends before the validation, which the peers' loops don't have."""
    batch = job.settings["batch"]
    recipe = Recipe(
        epochs=1, batch_size=batch, optimizer="sgd", lr=job.settings["lr"], schedule="constant", validation=batch
    )
    held = np.zeros((batch, *job.x.shape[1:]), np.uint8)
    images = np.concatenate([held, np.round(job.x * 255).astype(np.uint8)])
    labels = np.concatenate([np.zeros(batch, np.int32), job.y])
    threat = Threat(NORMS["linf"], job.settings["eps"])

    def work() -> float:
        clock = Clock()
        fit(network(job), defense, threat, images, labels, recipe, listeners=[clock])
        return clock.trained - clock.begun

    return work


class Clock(Listener):
    """Listens for the begin of training and the end of its last step."""

    def begin(self, step: int, total: int) -> None:
        self.begun = time.perf_counter()

    def window(self, record: Record) -> None:
        self.trained = time.perf_counter()


def network(job: Job) -> nnx.Module:
    architecture = "small-cnn" if "fc1.kernel" in job.weights else "resnet8"
    model = create(architecture, shape=job.x.shape[1:], classes=10, seed=0)
    state = nnx.state(model, nnx.Any(nnx.Param, nnx.BatchStat))
    flat = {
        path: leaf.replace(jnp.asarray(job.weights[".".join(map(str, path))]))
        for path, leaf in nnx.to_flat_state(state)
    }
    nnx.update(model, nnx.from_flat_state(flat))
    return model


def portions(job: Job):
    """Batches of one size; the last is padded by repetition."""
    size = job.settings["batch"]
    for i in range(0, len(job.x), size):
        rows = np.minimum(np.arange(i, i + size), len(job.x) - 1)
        yield jnp.asarray(job.x[rows]), jnp.asarray(job.y[rows], jnp.int32)


def logits(job: Job) -> np.ndarray:
    model = freeze(network(job))
    return np.concatenate([predict(model, x) for x, _ in portions(job)])[: len(job.x)]


serve(
    {
        "forward": forward,
        "gradient": gradient,
        "fgsm": fgsm,
        "pgd": pgd,
        "cw": cw,
        "fast-at": fast_epoch,
        "pgd-at": pgd_epoch,
        "autoattack": autoattack,
    }
    | {row: partial(typed, text=text) for row, text in SPECS.items()},
    logits,
    {"advbench": advbench.__version__, "native convolution": native.status(), "jax": jax.__version__},
)
