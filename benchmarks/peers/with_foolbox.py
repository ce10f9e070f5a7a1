"""Foolbox (Rauber et al. 2020, JOSS 5(53))."""

import foolbox
import torch
from foolbox.attacks import FGSM, L2CarliniWagnerAttack, LinfPGD
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
    {"fgsm": fgsm, "pgd": pgd, "cw": cw, "fast-at": epoch, "pgd-at": epoch},
    logits,
    {"Foolbox": foolbox.__version__},
)
