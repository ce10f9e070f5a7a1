"""Networks as users write them in PyTorch, and one of them in plain JAX."""

from collections.abc import Callable

import jax
import numpy as np
import torch
from jax import Array, lax
from torch import Tensor, nn
from torch.nn.functional import relu

SIDE, CLASSES = 32, 10


class Basic(nn.Module):
    """Two convolutions with their normalisation behind them."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False), nn.BatchNorm2d(fan_out)
        self.conv2, self.norm2 = nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False), nn.BatchNorm2d(fan_out)
        same = stride == 1 and fan_in == fan_out
        self.short = nn.Sequential() if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.norm2(self.conv2(relu(self.norm1(self.conv1(x))))) + self.short(x))


class PreAct(nn.Module):
    """Two convolutions with their normalisation before them (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, fan_in: int, fan_out: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(fan_in), nn.Conv2d(fan_in, fan_out, 3, stride, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(fan_out), nn.Conv2d(fan_out, fan_out, 3, 1, 1, bias=False)
        same = stride == 1 and fan_in == fan_out
        self.short = None if same else nn.Conv2d(fan_in, fan_out, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = relu(self.norm1(x))
        short = x if self.short is None else self.short(y)
        return self.conv2(relu(self.norm2(self.conv1(y)))) + short


class ResNet(nn.Module):
    """Groups of blocks behind a 3x3 convolution; every group but the first halves the image."""

    def __init__(self, block: type[nn.Module], widths: list[int], blocks: int):
        super().__init__()
        self.conv, parts, fan_in = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False), [], widths[0]
        for group, width in enumerate(widths):
            for number in range(blocks):
                parts.append(block(fan_in, width, 2 if group and not number else 1))
                fan_in = width
        self.blocks, self.norm, self.head = nn.Sequential(*parts), nn.BatchNorm2d(fan_in), nn.Linear(fan_in, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(relu(self.norm(self.blocks(self.conv(x)))).mean((2, 3)))


def cnn() -> nn.Module:
    """Four convolutions and two dense layers."""
    convs = [nn.Conv2d(i, o, 3, 1, 1) for i, o in ((3, 32), (32, 32), (32, 64), (64, 64))]
    steps = [step for at, conv in enumerate(convs) for step in (conv, nn.ReLU(), *[nn.MaxPool2d(2)] * (at % 2))]
    return nn.Sequential(*steps, nn.Flatten(), nn.Linear(64 * 64, 128), nn.ReLU(), nn.Linear(128, CLASSES))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "4-layer CNN": cnn,
    "ResNet-20": lambda: ResNet(Basic, [16, 32, 64], 3),
    "PreActResNet-18": lambda: ResNet(PreAct, [64, 128, 256, 512], 2),
}


def made(name: str) -> nn.Module:
    """Make a network with random weights and the statistics of random images."""
    torch.manual_seed(0)
    net = NETWORKS[name]()
    with torch.no_grad():
        for _ in range(3):
            net(torch.rand(32, 3, SIDE, SIDE))
    return net.eval().requires_grad_(False)


def plain_jax(net: nn.Module) -> Callable[[Array], Array]:
    """Write the 4-layer CNN as one does who knows `jax.lax` alone, with the same weights."""
    layers = [part for part in net if isinstance(part, nn.Conv2d | nn.Linear)]
    weights = [(np.asarray(part.weight), np.asarray(part.bias)) for part in layers]

    def apply(x: Array) -> Array:
        for at, (kernel, bias) in enumerate(weights[:4]):
            order = ("NHWC", "HWIO", "NHWC")
            x = lax.conv_general_dilated(x, kernel.transpose(2, 3, 1, 0), (1, 1), "SAME", dimension_numbers=order)
            x = jax.nn.relu(x + bias)
            if at % 2:
                x = lax.reduce_window(x, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)  # flattened as PyTorch does
        (first, bias1), (second, bias2) = weights[4:]
        return jax.nn.relu(x @ first.T + bias1) @ second.T + bias2

    return apply
