"""adv-lib (Rony & Ben Ayed, doi 10.5281/zenodo.5815063)."""

import sys
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import torch
from network import images, logits, network, portions, tensors
from worker import Job, serve

# Its attacks import each other, and visdom and torchvision, which they need only for drawings and other networks.
sys.modules["visdom"] = ModuleType("visdom")
sys.modules["adv_lib.attacks"] = folder = ModuleType("adv_lib.attacks")
folder.__path__ = [str(Path(find_spec("adv_lib").origin).parent / "attacks")]
find_ddn = import_module("adv_lib.attacks.decoupled_direction_norm").ddn
find_fmn = import_module("adv_lib.attacks.fast_minimum_norm").fmn

ORDERS = {"linf": float("inf"), "l2": 2, "l1": 1, "l0": 0}


def ddn(job: Job):
    return attack(job, lambda model, x, y: find_ddn(model, x, y, steps=job.settings["steps"], levels=None))


def fmn(job: Job):
    s = job.settings
    return attack(job, lambda model, x, y: find_fmn(model, x, y, ORDERS[s["norm"]], steps=s["steps"]))


def attack(job: Job, craft):
    model, (x, y) = network(job).requires_grad_(not job.tuned), tensors(job)
    return lambda: images(torch.cat([craft(model, *part) for part in portions(job, x, y)]))


serve({"ddn": ddn, "fmn": fmn}, logits, {"adv-lib": version("adv-lib")})
