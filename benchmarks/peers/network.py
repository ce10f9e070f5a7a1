"""The networks of the side-by-side runs in PyTorch, and what every PyTorch contestant shares."""

import os
from collections.abc import Iterator

import numpy as np
import torch
from residual import ResNet, fill
from torch import Tensor, nn
from worker import Job

torch.set_num_threads(int(os.environ["BENCH_THREADS"]))


class SmallCNN(nn.Module):
    """The TRADES small CNN for images [B, 1, 28, 28] in [0, 1]."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3) for i, o in ((1, 32), (32, 32), (32, 64), (64, 64)))
        self.dense = nn.ModuleList(nn.Linear(i, o) for i, o in ((1024, 200), (200, 200), (200, 10)))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = nn.functional.relu(conv(x))
            if i % 2:
                x = nn.functional.max_pool2d(x, 2)
        fc1, fc2, fc3 = self.dense
        x = self.drop(nn.functional.relu(fc1(x.flatten(1))))
        return fc3(nn.functional.relu(fc2(x)))


class WongCNN(nn.Module):
    """Two strided convolutions and two dense layers, for images [B, C, S, S] in [0, 1], S a multiple of 4."""

    def __init__(self, channels: int, flat: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(channels, 16, 4, 2, 1), nn.Conv2d(16, 32, 4, 2, 1)
        self.fc1, self.fc2 = nn.Linear(flat, 100), nn.Linear(100, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.conv2(nn.functional.relu(self.conv1(x))))
        return self.fc2(nn.functional.relu(self.fc1(x.flatten(1))))


def network(job: Job) -> nn.Module:
    """Build the network with the job's weights, in evaluation mode; channels last when tuned."""
    w = job.weights
    model = small_cnn(w) if "fc3.kernel" in w else wong_cnn(w) if "fc1.kernel" in w else resnet8(w)
    return model.to(memory_format=torch.channels_last if job.tuned else torch.contiguous_format).eval()


def resnet8(w: dict[str, np.ndarray]) -> nn.Module:
    model = ResNet(8, w["conv.kernel"].shape[-1])
    fill(model, w)
    return model


def small_cnn(w: dict[str, np.ndarray]) -> nn.Module:
    model = SmallCNN()
    for i, conv in enumerate(model.convs):
        _put(conv, w[f"convs.{i}.kernel"].transpose(3, 2, 0, 1), w[f"convs.{i}.bias"])
    first = w["fc1.kernel"].reshape(4, 4, 64, 200).transpose(3, 2, 0, 1)  # flattened as NHWC there, as NCHW here
    for i, (layer, kernel) in enumerate(zip(model.dense, (first, w["fc2.kernel"].T, w["fc3.kernel"].T), strict=True)):
        _put(layer, kernel, w[f"fc{i + 1}.bias"])
    return model


def wong_cnn(w: dict[str, np.ndarray]) -> nn.Module:
    flat = len(w["fc1.kernel"])
    side = int((flat / 32) ** 0.5)
    model = WongCNN(w["conv1.kernel"].shape[2], flat)
    for name in ("conv1", "conv2"):
        _put(getattr(model, name), w[f"{name}.kernel"].transpose(3, 2, 0, 1), w[f"{name}.bias"])
    first = w["fc1.kernel"].reshape(side, side, 32, 100).transpose(3, 2, 0, 1)  # flattened as NHWC there, as NCHW here
    _put(model.fc1, first, w["fc1.bias"])
    _put(model.fc2, w["fc2.kernel"].T, w["fc2.bias"])
    return model


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
