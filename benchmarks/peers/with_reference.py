"""AutoAttack by its authors (Croce & Hein 2020, arXiv 2003.01690), from the checkout that BENCH_REFERENCE names."""

import os
import sys
from functools import partial

from network import images, logits, network, tensors
from worker import Job, serve

sys.path.insert(0, os.environ["BENCH_REFERENCE"])
from autoattack import AutoAttack

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}
STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")


def attack(job: Job, names: tuple[str, ...]):
    """Some attacks of the version `standard`, on the job's images."""
    s, model, (x, y) = job.settings, network(job).requires_grad_(False), tensors(job)
    norm = NORMS[s.get("norm", "linf")]
    attacker = AutoAttack(model, norm=norm, eps=s["eps"], seed=s.get("seed", 0), device="cpu", verbose=False)
    attacker.attacks_to_run = list(names)
    return lambda: images(attacker.run_standard_evaluation(x, y, bs=s["batch"]))


serve(
    {"autoattack": partial(attack, names=STANDARD)} | {name: partial(attack, names=(name,)) for name in STANDARD},
    logits,
    {"auto-attack": os.environ.get("BENCH_REFERENCE_VERSION", "of unknown version")},
)
