"""Foolbox (Rauber et al. 2020, JOSS 5(53))."""

import foolbox
import torch
from foolbox.attacks import (
    FGSM,
    BoundaryAttack,
    DDNAttack,
    EADAttack,
    HopSkipJumpAttack,
    L2CarliniWagnerAttack,
    L2DeepFoolAttack,
    LinfDeepFoolAttack,
    LinfPGD,
)
from network import images, logits, network, portions, tensors, train
from worker import Job, serve


def fgsm(job: Job):
    return attack(job, FGSM(), job.settings["eps"])


def pgd(job: Job):
    return attack(job, make_pgd(job), job.settings["eps"])


def cw(job: Job):
    s = job.settings
    attacker = L2CarliniWagnerAttack(
        binary_search_steps=1, steps=s["steps"], stepsize=s["lr"], initial_const=s["c"], abort_early=False
    )
    return attack(job, attacker, None)


def deepfool(job: Job):
    kind = LinfDeepFoolAttack if job.settings["norm"] == "linf" else L2DeepFoolAttack
    return attack(job, kind(steps=job.settings["steps"]), None)


def ddn(job: Job):
    return attack(job, DDNAttack(steps=job.settings["steps"]), None)


def ead(job: Job):
    s = job.settings
    numbers = {"binary_search_steps": s["rounds"], "initial_stepsize": s["lr"], "initial_const": s["c"]}
    return attack(job, EADAttack(steps=s["steps"], abort_early=False, **numbers), None)


def cw_search(job: Job):
    s = job.settings
    numbers = {"binary_search_steps": s["rounds"], "stepsize": s["lr"], "initial_const": s["c"]}
    return attack(job, L2CarliniWagnerAttack(steps=s["steps"], **numbers), None)


def boundary(job: Job):
    return attack(job, BoundaryAttack(steps=job.settings["steps"]), None)


def hopskipjump(job: Job):
    s = job.settings
    return attack(job, HopSkipJumpAttack(steps=s["steps"], constraint=s["norm"]), None)


def make_pgd(job: Job):
    return LinfPGD(abs_stepsize=job.settings["step"], steps=job.settings["steps"], random_start=True)


def attack(job: Job, attacker, eps: float | None):
    model = foolbox.PyTorchModel(network(job).requires_grad_(not job.tuned), bounds=(0, 1))
    x, y = tensors(job)
    return lambda: images(torch.cat([attacker(model, *part, epsilons=eps)[1] for part in portions(job, x, y)]))


def epoch(job: Job):
    net, attacker = network(job), make_pgd(job)
    model = foolbox.PyTorchModel(net, bounds=(0, 1))
    return lambda: train(job, net, lambda x, y: attacker(model, x, y, epsilons=job.settings["eps"])[1])


serve(
    {
        "fgsm": fgsm,
        "pgd": pgd,
        "cw": cw,
        "fast-at": epoch,
        "pgd-at": epoch,
        "deepfool": deepfool,
        "ddn": ddn,
        "ead": ead,
        "cw-search": cw_search,
        "boundary": boundary,
        "hopskipjump": hopskipjump,
    },
    logits,
    {"Foolbox": foolbox.__version__},
)
