"""Residual networks of this package in PyTorch, with the same names of parts."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class Residual(nn.Module):
    """What all have in common: normalised CIFAR-10 images [B, 3, 32, 32] in [0, 1], and a mean over pixels."""

    def __init__(self, stem: int, stride: int, last: int):
        super().__init__()
        self.mean, self.std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
        self.conv = nn.Conv2d(3, stem, 3, stride, 1, bias=False)
        self.head = nn.Linear(last, 10)

    def begun(self, x: Tensor) -> Tensor:
        return self.conv((x - self.mean) / self.std)

    def ended(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


class ResNet(Residual):
    """ResNet of depth 6n + 2 behind a stem of stride 2."""

    def __init__(self, depth: int, width: int):
        super().__init__(width, 2, 4 * width)
        self.norm = nn.BatchNorm2d(width)
        blocks, fan_in = [], width
        for group in range(3):
            for number in range((depth - 2) // 6):
                blocks.append(Block(fan_in, width << group, 2 if group and not number else 1))
                fan_in = width << group
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.ended(self.blocks(relu(self.norm(self.begun(x)))))


class Block(nn.Module):
    """Two convolutions; the shortcut skips pixels and pads channels with zeros."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(fan_out)
        self.conv2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(fan_out)
        self.stride, self.more = stride, (fan_out - fan_in) // 2

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(y + pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more)))


class PreActResNet18(Residual):
    """Blocks that normalise, activate, then convolve."""

    def __init__(self) -> None:
        super().__init__(64, 1, 512)
        blocks, fan_in = [], 64
        for group in range(4):
            for number in range(2):
                blocks.append(PreActBlock(fan_in, 64 << group, 2 if group and not number else 1))
                fan_in = 64 << group
        self.blocks, self.norm = nn.Sequential(*blocks), nn.BatchNorm2d(fan_in)

    def forward(self, x: Tensor) -> Tensor:
        return self.ended(relu(self.norm(self.blocks(self.begun(x)))))


class PreActBlock(nn.Module):
    """Where the width changes, the shortcut is a 1x1 convolution."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(fan_in), nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(fan_out), nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        same = fan_in == fan_out and stride == 1
        self.shortcut = None if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(x))
        x = x if self.shortcut is None else self.shortcut(y)
        return x + self.conv2(relu(self.norm2(self.conv1(y))))


def fill(model: nn.Module, w: Mapping[str, np.ndarray]) -> None:
    """Give a network the weights and statistics of ours, by their names."""
    for name, part in model.named_modules():
        if isinstance(part, nn.Conv2d):
            part.weight.data = torch.tensor(np.ascontiguousarray(w[f"{name}.kernel"].transpose(3, 2, 0, 1)))
        elif isinstance(part, nn.BatchNorm2d):
            part.weight.data, part.bias.data = torch.tensor(w[f"{name}.scale"]), torch.tensor(w[f"{name}.bias"])
            part.running_mean, part.running_var = torch.tensor(w[f"{name}.mean"]), torch.tensor(w[f"{name}.var"])
        elif isinstance(part, nn.Linear):
            part.weight.data = torch.tensor(np.ascontiguousarray(w[f"{name}.kernel"].T))
            part.bias.data = torch.tensor(w[f"{name}.bias"])
