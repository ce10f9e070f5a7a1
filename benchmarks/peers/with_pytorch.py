"""PyTorch by hand: the loops as the papers' own code has them, without any attack library."""

import torch
from network import images, logits, network, portions, tensors, train
from torch import Tensor, nn
from worker import Job, serve


def forward(job: Job):
    model, (x, y) = network(job), tensors(job)

    def work() -> None:
        with torch.inference_mode(job.tuned), torch.no_grad():
            for part, _ in portions(job, x, y):
                model(part)

    return work


def gradient(job: Job):
    model, (x, y) = network(job), tensors(job)

    def work() -> None:
        for part, labels in portions(job, x, y):
            slope(model, part, labels)

    return work


def fgsm(job: Job):
    return attack(job, lambda model, x, y: climb(model, x, x, y, job.settings["eps"], job.settings["eps"]))


def pgd(job: Job):
    return attack(job, lambda model, x, y: projected(model, x, y, **numbers(job)))


def attack(job: Job, craft):
    model, (x, y) = network(job).requires_grad_(not job.tuned), tensors(job)
    return lambda: images(torch.cat([craft(model, *part) for part in portions(job, x, y)]))


def numbers(job: Job) -> dict[str, float]:
    return {key: job.settings[key] for key in ("eps", "step", "steps")}


def slope(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    return torch.autograd.grad(nn.functional.cross_entropy(model(x), y, reduction="sum"), x)[0]


def climb(model: nn.Module, x0: Tensor, x: Tensor, y: Tensor, step: float, eps: float) -> Tensor:
    x = x + step * slope(model, x, y).sign()
    return torch.min(torch.max(x, x0 - eps), x0 + eps).clamp(0, 1)


def projected(model: nn.Module, x0: Tensor, y: Tensor, eps: float, step: float, steps: int) -> Tensor:
    x = (x0 + torch.empty_like(x0).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        x = climb(model, x0, x, y, step, eps)
    return x


def epoch(job: Job):
    model = network(job)
    return lambda: train(job, model, lambda x, y: projected(model, x, y, **numbers(job)))


serve(
    {"forward": forward, "gradient": gradient, "fgsm": fgsm, "pgd": pgd, "fast-at": epoch, "pgd-at": epoch},
    logits,
    {"PyTorch": torch.__version__},
)
