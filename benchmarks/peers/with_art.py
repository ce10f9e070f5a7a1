"""The Adversarial Robustness Toolbox (Nicolae et al. 2018, arXiv 1807.01069)."""

import art
import numpy as np
from art.attacks.evasion import (
    AutoProjectedGradientDescent,
    CarliniL2Method,
    FastGradientMethod,
    ProjectedGradientDescent,
    SquareAttack,
)
from art.defences.trainer import AdversarialTrainerFBFPyTorch, AdversarialTrainerMadryPGD
from art.estimators.classification import PyTorchClassifier
from network import logits, network, optimizer
from torch import nn
from worker import Job, serve


def fgsm(job: Job):
    return attack(job, FastGradientMethod, eps=job.settings["eps"])


def pgd(job: Job):
    s = job.settings
    return attack(
        job,
        ProjectedGradientDescent,
        eps=s["eps"],
        eps_step=s["step"],
        max_iter=s["steps"],
        num_random_init=1,
        verbose=False,
    )


def cw(job: Job):
    s = job.settings
    numbers = {"learning_rate": s["lr"], "initial_const": s["c"], "max_iter": s["steps"], "binary_search_steps": 1}
    return attack(job, CarliniL2Method, **numbers, verbose=False)


def apgd(job: Job):
    s = job.settings
    numbers = {"eps": s["eps"], "eps_step": 2 * s["eps"], "max_iter": s["steps"], "nb_random_init": 1}
    return attack(job, AutoProjectedGradientDescent, **numbers, loss_type="cross_entropy", verbose=False)


def square(job: Job):
    s = job.settings
    return attack(job, SquareAttack, eps=s["eps"], max_iter=s["queries"], verbose=False)


def attack(job: Job, kind, **numbers):
    size = {"batch_size": job.settings["batch"]} if job.tuned else {}
    attacker = kind(classifier(job, frozen=job.tuned), **numbers, **size)
    x, y = arrays(job)
    return lambda: attacker.generate(x, y).transpose(0, 2, 3, 1)


def fast_epoch(job: Job):
    trainer = AdversarialTrainerFBFPyTorch(classifier(job), eps=job.settings["eps"])
    return epoch(job, trainer)


def pgd_epoch(job: Job):
    s = job.settings
    trainer = AdversarialTrainerMadryPGD(classifier(job), eps=s["eps"], eps_step=s["step"], max_iter=s["steps"])
    if job.tuned:
        trainer.attack.set_params(batch_size=s["batch"])
    trainer.attack.set_params(verbose=False)
    return epoch(job, trainer)


def epoch(job: Job, trainer):
    x, y = arrays(job)
    return lambda: trainer.fit(x, y, nb_epochs=1, batch_size=job.settings["batch"])


def classifier(job: Job, frozen: bool = False):
    model = network(job).requires_grad_(not frozen)
    return PyTorchClassifier(
        model=model,
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer(job, model) if "lr" in job.settings else None,
        input_shape=(1, 28, 28),
        nb_classes=10,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def arrays(job: Job) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(job.x.transpose(0, 3, 1, 2)), np.eye(10, dtype=np.float32)[job.y]


serve(
    {
        "fgsm": fgsm,
        "pgd": pgd,
        "cw": cw,
        "fast-at": fast_epoch,
        "pgd-at": pgd_epoch,
        "apgd": apgd,
        "square": square,
    },
    logits,
    {"ART": art.__version__},
)
