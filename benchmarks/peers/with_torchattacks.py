"""Torchattacks (Kim 2020, arXiv 2010.01950)."""

import torch
import torchattacks
from network import images, logits, network, portions, tensors, train
from worker import Job, serve


def fgsm(job: Job):
    return attack(job, lambda model: torchattacks.FGSM(model, eps=job.settings["eps"]))


def pgd(job: Job):
    return attack(job, lambda model: make_pgd(model, job))


def cw(job: Job):
    s = job.settings
    return attack(job, lambda model: torchattacks.CW(model, c=s["c"], kappa=0, steps=s["steps"], lr=s["lr"]))


def apgd(job: Job):
    s = job.settings
    return attack(job, lambda model: torchattacks.APGD(model, eps=s["eps"], steps=s["steps"], loss="ce"))


def fab(job: Job):
    s = job.settings
    return attack(job, lambda model: torchattacks.FAB(model, eps=s["eps"], steps=s["steps"], n_classes=10))


def square(job: Job):
    s = job.settings
    return attack(job, lambda model: torchattacks.Square(model, eps=s["eps"], n_queries=s["queries"]))


def make_pgd(model, job: Job):
    s = job.settings
    return torchattacks.PGD(model, eps=s["eps"], alpha=s["step"], steps=s["steps"], random_start=True)


def attack(job: Job, make):
    model, (x, y) = network(job).requires_grad_(not job.tuned), tensors(job)
    attacker = make(model)
    return lambda: images(torch.cat([attacker(*part) for part in portions(job, x, y)]))


def fast_epoch(job: Job):
    model = network(job)
    attacker = torchattacks.FFGSM(model, eps=job.settings["eps"], alpha=job.settings["step"])
    return lambda: train(job, model, attacker)


def pgd_epoch(job: Job):
    model = network(job)
    return lambda: train(job, model, make_pgd(model, job))


serve(
    {
        "fgsm": fgsm,
        "pgd": pgd,
        "cw": cw,
        "fast-at": fast_epoch,
        "pgd-at": pgd_epoch,
        "apgd": apgd,
        "fab": fab,
        "square": square,
    },
    logits,
    {"torchattacks": torchattacks.__version__},
)
