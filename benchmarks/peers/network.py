"""The networks of the side-by-side runs in PyTorch, and what every PyTorch contestant shares."""

import os
from collections.abc import Iterator

import numpy as np
import torch
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


class ResNet8(nn.Module):
    """Three residual blocks behind a stem of stride 2, for CIFAR-10 images [B, 3, 32, 32] in [0, 1]."""

    def __init__(self, width: int):
        super().__init__()
        self.mean = torch.tensor([0.4914, 0.4822, 0.4465])[:, None, None]
        self.std = torch.tensor([0.2470, 0.2435, 0.2616])[:, None, None]
        self.conv = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(
            Block(i, o, stride)
            for i, o, stride in ((width, width, 1), (width, 2 * width, 2), (2 * width, 4 * width, 2))
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.relu(self.norm(self.conv((x - self.mean) / self.std)))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((2, 3)))


class Block(nn.Module):
    """Two convolutions; the shortcut skips pixels and pads channels with zeros."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.stride, self.more = stride, (fan_out - fan_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(nn.functional.relu(self.norm1(self.conv1(x)))))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.relu(y + nn.functional.pad(shortcut, (0, 0, 0, 0, self.more, self.more)))


def network(job: Job) -> nn.Module:
    """Build the network with the job's weights, in evaluation mode; channels last when tuned."""
    w = job.weights
    model = small_cnn(w) if "fc3.kernel" in w else wong_cnn(w) if "fc1.kernel" in w else resnet8(w)
    return model.to(memory_format=torch.channels_last if job.tuned else torch.contiguous_format).eval()


def resnet8(w: dict[str, np.ndarray]) -> nn.Module:
    model = ResNet8(w["conv.kernel"].shape[-1])
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = torch.tensor(np.ascontiguousarray(w[f"{name}.kernel"].transpose(3, 2, 0, 1)))
        elif isinstance(part, nn.BatchNorm2d):
            part.weight.data, part.bias.data = torch.tensor(w[f"{name}.scale"]), torch.tensor(w[f"{name}.bias"])
            part.running_mean, part.running_var = torch.tensor(w[f"{name}.mean"]), torch.tensor(w[f"{name}.var"])
    _put(model.head, w["head.kernel"].T, w["head.bias"])
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
