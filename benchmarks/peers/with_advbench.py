"""advbench itself, through its public API."""

import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from worker import Job, serve

import advbench
from advbench.attacks import CW, FGSM, NORMS, PGD, Attack, Threat
from advbench.attacks.losses import cross_entropy, slope
from advbench.defenses import DEFENSES
from advbench.defenses.base import predict
from advbench.defenses.frozen import freeze
from advbench.defenses.metrics import Listener, Record
from advbench.defenses.recipe import Recipe
from advbench.defenses.training import fit
from advbench.models import create, native


def forward(job: Job):
    return plain(job, lambda model, x, y: predict(model, x))


def gradient(job: Job):
    return plain(job, input_gradient)


@jax.jit
def input_gradient(model, x, y):
    return slope(model, cross_entropy, x, y)[0]


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
    model = create("small-cnn", shape=job.x.shape[1:], classes=10, seed=0)
    state = nnx.state(model, nnx.Param)
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
    },
    logits,
    {"advbench": advbench.__version__, "native convolution": native.status(), "jax": jax.__version__},
)
