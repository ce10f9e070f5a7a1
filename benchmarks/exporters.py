"""PyTorch's layers and networks, written to ONNX by both of its exporters, against PyTorch: logits and input gradients.

    python benchmarks/exporters.py [--opset N ...] [--only NAME ...] [--families]

Runs where torch, onnx and advbench are installed together; the newer exporter needs onnxscript, `--families` needs
torchvision and timm, whose networks get random weights. Every case is right, refused by name, or not exported by
PyTorch itself; a wrong one ends the command with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from advbench.core.errors import UsageError
from advbench.core.preprocess import Preprocess
from advbench.models.load import load_model

SIDE, CHANNELS, CLASSES = 12, 4, 5
ALLOWED = 1e-4  # of the largest magnitude
OPSETS = {"old": (9, 11, 13, 15, 17, 18, 20), "new": (18, 20, 23, 24, 25)}
Layer = Callable[[torch.Tensor], torch.Tensor]


class Rows(nn.Module):
    """A layer of [N, L, E] in front of which images become rows."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(2).transpose(1, 2))


class Attention(nn.Module):
    """Rows that look at each other."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(CHANNELS, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layer(x, x, x, need_weights=False)[0]
        return y


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Layer):
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class Classifier(nn.Module):
    """A layer between a convolution and a linear layer."""

    def __init__(self, layer: Layer):
        super().__init__()
        self.first = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.layer = layer if isinstance(layer, nn.Module) else Function(layer)
        with torch.no_grad():
            width = self.layer.eval()(self.first(torch.zeros(2, 3, SIDE, SIDE))).flatten(1).shape[1]
        self.last = nn.Linear(width, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.layer(self.first(x)).flatten(1))
        return y


ACTIVATIONS = """
    ReLU ReLU6 LeakyReLU PReLU RReLU ELU SELU CELU GELU SiLU Mish Hardswish Hardsigmoid Hardtanh Hardshrink Softshrink
    Tanhshrink Softplus Softsign Sigmoid LogSigmoid Tanh Threshold(0.1,0.2) GLU(1) Softmax(1) Softmin(1) LogSoftmax(1)
    Softmax2d GELU('tanh')
"""
LAYERS = """
    BatchNorm2d(4) GroupNorm(2,4) InstanceNorm2d(4) InstanceNorm2d(4,affine=True) LayerNorm([4,12,12]) LayerNorm(12)
    RMSNorm(12) LocalResponseNorm(3) Dropout Dropout2d AlphaDropout Identity Flatten Conv2d(4,6,3,stride=2)
    Conv2d(4,6,3,padding='same') Conv2d(4,8,3,groups=4) Conv2d(4,6,3,dilation=2)
    Conv2d(4,6,3,padding=1,padding_mode='reflect') Conv2d(4,6,3,padding=1,padding_mode='circular')
    Conv2d(4,6,3,padding=1,padding_mode='replicate') ConvTranspose2d(4,3,3,stride=2,output_padding=1) MaxPool2d(2)
    MaxPool2d(3,2,1) MaxPool2d(3,2,ceil_mode=True) MaxPool2d(2,dilation=2) MaxPool2d(12) MaxPool2d(9,1) AvgPool2d(2)
    AvgPool2d(3,2,1) AvgPool2d(3,2,1,count_include_pad=False) AvgPool2d(3,2,ceil_mode=True) AvgPool2d(12)
    LPPool2d(2,3) AdaptiveAvgPool2d(1) AdaptiveAvgPool2d(3) AdaptiveAvgPool2d(5) AdaptiveMaxPool2d(1)
    AdaptiveMaxPool2d(4) ZeroPad2d(2) ConstantPad2d(1,0.5) ReflectionPad2d(2) ReplicationPad2d(2) CircularPad2d(2)
    PixelShuffle(2) PixelUnshuffle(2) ChannelShuffle(2) Upsample(scale_factor=2) Upsample(size=(9,7))
    Upsample(scale_factor=2,mode='bilinear') Upsample(size=17,mode='bilinear',align_corners=True)
    Upsample(scale_factor=1.5,mode='bicubic') Upsample(size=5,mode='bicubic') Unfold(3)
"""
FUNCTIONS: dict[str, Layer] = {
    "interpolate(antialias)": lambda x: functional.interpolate(x, size=(7, 7), mode="bilinear", antialias=True),
    "interpolate(area)": lambda x: functional.interpolate(x, size=(6, 6), mode="area"),
    "interpolate(nearest-exact)": lambda x: functional.interpolate(x, size=(7, 9), mode="nearest-exact"),
    "normalize": lambda x: functional.normalize(x, dim=1),
    "cosine_similarity": lambda x: functional.cosine_similarity(x[:, :2], x[:, 2:]),
    "max_pool2d(whole)": lambda x: functional.max_pool2d(x, x.shape[2:]),
    "scaled_dot_product_attention": lambda x: functional.scaled_dot_product_attention(x, x.flip(1), x),
    "scaled_dot_product_attention(causal)": lambda x: functional.scaled_dot_product_attention(x, x, x, is_causal=True),
    "cumsum": lambda x: x.cumsum(1),
    "topk": lambda x: x.flatten(2).topk(5, -1).values,
    "sort": lambda x: x.flatten(2).sort(-1).values,
    "max(dim)": lambda x: x.max(1).values,
    "amax": lambda x: x.amax((2, 3)),
    "mean, std": lambda x: torch.stack([x.mean((2, 3)), x.std((2, 3))], 1),
    "var, rsqrt": lambda x: x * torch.rsqrt(x.var((2, 3), keepdim=True) + 0.1),
    "chunk, cat": lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
    "roll": lambda x: x.roll((3, 2), (2, 3)),
    "einsum": lambda x: torch.einsum("nchw,nchv->ncwv", x, x),
    "where": lambda x: torch.where(x > 0, x, x.exp()),
    "clamp": lambda x: x.clamp(-0.2, 0.3),
    "pow, sqrt": lambda x: (x.pow(2) + 0.1).sqrt(),
    "sin, cos, atan": lambda x: x.sin() + x.cos() + x.atan(),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
    "tril": lambda x: x.tril(),
    "masked_fill": lambda x: x.masked_fill(x < 0, 0.1),
}
ROWS: dict[str, Callable[[], nn.Module]] = {
    "MultiheadAttention": Attention,
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(CHANNELS, 2, 8, batch_first=True),
    "Linear": lambda: nn.Linear(CHANNELS, 3),
}
FAMILIES = {
    "torchvision": "resnet18 vgg11_bn mobilenet_v2 mobilenet_v3_small efficientnet_b0 convnext_tiny densenet121 "
    "googlenet squeezenet1_1 shufflenet_v2_x1_0 regnet_y_400mf mnasnet0_5 swin_t alexnet inception_v3 maxvit_t",
    "timm": "resnet18 resnetv2_50 vit_tiny_patch16_224 deit_tiny_patch16_224 convnext_atto mixer_s32_224 "
    "efficientnet_lite0 mobilenetv4_conv_small levit_128s swin_tiny_patch4_window7_224 pit_ti_224 cait_xxs24_224 "
    "gmlp_s16_224 poolformer_s12 xcit_nano_12_p16_224 regnetx_002 hrnet_w18_small nfnet_f0 repvgg_a0 edgenext_xx_small",
}


def layers() -> Iterator[tuple[str, Callable[[], nn.Module], int]]:
    """Names, makers of modules and sides of images."""
    for text in (*ACTIVATIONS.split(), *LAYERS.split()):
        made = text if text.endswith(")") else f"{text}()"
        yield text, lambda made=made: Classifier(_layer(made)), SIDE  # type: ignore[misc]
    for name, make in ROWS.items():
        yield name, lambda make=make: Classifier(Rows(make())), SIDE  # type: ignore[misc]
    for name, function in FUNCTIONS.items():
        yield name, lambda function=function: Classifier(function), SIDE  # type: ignore[misc]


def _layer(text: str) -> nn.Module:
    module: nn.Module = eval(f"nn.{text}", {"nn": nn})  # of the lists above
    return module


def families() -> Iterator[tuple[str, Callable[[], nn.Module], int]]:
    """Networks of the packages that are there."""
    for package, names in FAMILIES.items():
        if importlib.util.find_spec(package) is None:
            print(f"{package}: not installed, so {len(names.split())} of its families are skipped", flush=True)
            continue
        library = importlib.import_module(package if package == "timm" else "torchvision.models")
        create = library.create_model if package == "timm" else library.get_model
        for name in names.split():
            yield f"{package} {name}", lambda c=create, n=name: c(n, num_classes=CLASSES), 224  # type: ignore[misc]


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module in evaluation mode whose batch norms have seen other than standard numbers."""
    torch.manual_seed(0)
    net = make().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return net


def verdict(net: nn.Module, side: int, exporter: str, opset: int, folder: Path) -> tuple[str, str]:
    """One of right, refused, wrong and not exported, and how far off, or why."""
    x = torch.rand(2, 3, side, side, requires_grad=True)
    logits = net(x)
    cotangent = torch.randn_like(logits)
    (gradient,) = torch.autograd.grad(logits, x, cotangent)
    path = folder / "model.onnx"
    axes: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}}} if exporter == "old" else {"dynamic_shapes": ({0: "n"},)}
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(
                net, (x.detach(),), path, input_names=["x"], opset_version=opset, dynamo=exporter == "new", **axes
            )
    except Exception as error:  # whatever the exporter can't do
        return "not exported", " ".join(str(error).split())[:90]
    try:
        model = load_model(str(path), Preprocess("nchw"))
        images = x.detach().numpy().transpose(0, 2, 3, 1)
        got, pull = jax.vjp(model.predict, images)
    except UsageError as error:
        return "refused", str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")[:150]
    slope = np.asarray(pull(cotangent.numpy())[0]).transpose(0, 3, 1, 2)
    off = [_off(got, logits), _off(slope, gradient)]
    far = f"{off[0]:.1e}, {off[1]:.1e}"
    if off[0] > ALLOWED and model.compare and model.compare(model, images) is None:
        return "PyTorch writes another function, as ONNX Runtime agrees", far
    return ("right" if max(off) <= ALLOWED else "wrong"), far


def _off(got: Any, true: torch.Tensor) -> float:
    found, wanted = np.asarray(got, np.float64), true.detach().numpy().astype(np.float64)
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def table(cases: Iterator[tuple[str, Callable[[], nn.Module], int]], opsets: dict[str, tuple[int, ...]]) -> int:
    """Print a row for each case and exporter; give how many are wrong."""
    wrong = 0
    print("| layer | exporter | opsets right | largest difference: logits, gradient | else |")
    print("| --- | --- | --- | --- | --- |")
    for name, make, side in cases:
        net = seeded(make)
        for exporter, versions in opsets.items():
            right: list[str] = []
            other: dict[str, list[str]] = {}
            far = ""
            for opset in versions:
                with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    kind, what = verdict(net, side, exporter, opset, Path(folder))
                wrong += kind == "wrong"
                if kind == "right":
                    right.append(str(opset))
                    far = max(far, what, key=lambda each: float(each.split(",")[0] or 0))
                else:
                    other.setdefault(f"{kind}: {what}", []).append(str(opset))
            rest = "; ".join(f"{', '.join(where)} {what}" for what, where in other.items()).replace("|", "/")
            print(f"| `{name}` | {exporter} | {' '.join(right)} | {far} | {rest} |", flush=True)
    return wrong


def main() -> int:
    """Run the sweep; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opset", type=int, nargs="+", help="instead of those that each exporter writes")
    parser.add_argument("--only", nargs="+", help="names of layers")
    parser.add_argument("--families", action="store_true", help="torchvision's and timm's networks, not single layers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, jax {jax.__version__}")
    opsets = {name: tuple(arguments.opset or versions) for name, versions in OPSETS.items()}
    if importlib.util.find_spec("onnxscript") is None:
        print("the newer exporter is skipped: onnxscript is not installed")
        del opsets["new"]
    chosen = families() if arguments.families else layers()
    return int(table((case for case in chosen if not arguments.only or case[0] in arguments.only), opsets) > 0)


if __name__ == "__main__":
    sys.exit(main())
