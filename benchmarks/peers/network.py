"""The network of the side-by-side runs in PyTorch, and what every PyTorch contestant shares."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from worker import Job

torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


def network(job: Job) -> nn.Module:
    """Port the TRADES small CNN with the job's weights, in evaluation mode; takes NCHW."""
    w = job.weights
    convs = [nn.Conv2d(*w[f"convs.{i}.kernel"].shape[2:], 3) for i in range(4)]
    dense = [nn.Linear(*w[f"fc{i}.kernel"].shape) for i in (1, 2, 3)]
    for i, conv in enumerate(convs):
        _put(conv, w[f"convs.{i}.kernel"].transpose(3, 2, 0, 1), w[f"convs.{i}.bias"])
    side, channels = 4, convs[-1].out_channels
    first = (
        w["fc1.kernel"].reshape(side, side, channels, -1).transpose(3, 2, 0, 1)
    )  # flattened as NHWC there, NCHW here
    for layer, kernel, i in zip(dense, (first, w["fc2.kernel"].T, w["fc3.kernel"].T), (1, 2, 3), strict=True):
        _put(layer, kernel, w[f"fc{i}.bias"])
    model = nn.Sequential(
        *(convs[0], nn.ReLU(), convs[1], nn.ReLU(), nn.MaxPool2d(2)),
        *(convs[2], nn.ReLU(), convs[3], nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(dense[0], nn.ReLU(), nn.Dropout(0.5), dense[1], nn.ReLU(), dense[2]),
    )
    return model.to(memory_format=torch.channels_last if job.tuned else torch.contiguous_format).eval()


def _put(layer: nn.Module, kernel: np.ndarray, bias: np.ndarray) -> None:
    layer.weight.data = torch.tensor(np.ascontiguousarray(kernel)).reshape(layer.weight.shape)
    layer.bias.data = torch.tensor(bias)


def tensors(job: Job) -> tuple[Tensor, Tensor]:
    """Images as NCHW, and labels."""
    return torch.tensor(np.ascontiguousarray(job.x.transpose(0, 3, 1, 2))), torch.tensor(job.y)


def images(x: Tensor) -> np.ndarray:
    """Back to NHWC."""
    return x.detach().numpy().transpose(0, 2, 3, 1)


def portions(job: Job, x: Tensor, y: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """All images at once, as the peers' examples do, or in batches when tuned."""
    size = job.settings["batch"] if job.tuned else len(x)
    return zip(x.split(size), y.split(size), strict=True)


def optimizer(job: Job, model: nn.Module) -> torch.optim.Optimizer:
    """Make the same optimiser for every contestant."""
    return torch.optim.SGD(model.parameters(), lr=job.settings["lr"], momentum=0.9, nesterov=True)


def train(job: Job, model: nn.Module, craft) -> None:
    """Go once through the job's images in random order; `craft` makes a batch adversarial."""
    x, y = tensors(job)
    update = optimizer(job, model)
    for batch in torch.randperm(len(x)).split(job.settings["batch"]):
        model.eval()
        x_adv = craft(x[batch], y[batch])
        model.train()
        update.zero_grad()
        nn.functional.cross_entropy(model(x_adv), y[batch]).backward()
        update.step()


def logits(job: Job) -> np.ndarray:
    """Predict the job's images."""
    with torch.no_grad():
        return network(job)(tensors(job)[0]).numpy()
