"""Export torchvision's networks to ONNX, by both of PyTorch's exporters, with logits and input gradients beside them.

Needs torch, torchvision, onnx and onnxscript: run it in an environment of its own.

    python benchmarks/peers/export_onnx.py FOLDER [NAME ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

SIDE = 64
NAMES = (
    "resnet18",
    "vgg11_bn",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "convnext_tiny",
    "densenet121",
    "googlenet",
    "squeezenet1_1",
    "shufflenet_v2_x1_0",
    "regnet_y_400mf",
    "mnasnet0_5",
    "swin_t",
    "vit",
)


def network(name: str) -> torch.nn.Module:
    """One with ten classes and random weights, whose batch norms have seen other than standard numbers."""
    torch.manual_seed(0)
    if name == "vit":
        net = torchvision.models.VisionTransformer(SIDE, 16, 4, 4, 64, 128, num_classes=10)
        torch.nn.init.normal_(net.heads.head.weight)
        return net
    extra = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    net = getattr(torchvision.models, name)(num_classes=10, **extra)
    for part in net.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    return net


def export(name: str, folder: Path) -> None:
    """Write `NAME-old.onnx`, `NAME-new.onnx`, and `NAME.npz` with images, logits, cotangents and input gradients."""
    net = network(name).eval()
    x = torch.rand(4, 3, SIDE, SIDE, requires_grad=True)
    logits = net(x)
    cotangent = torch.randn_like(logits)
    (gradient,) = torch.autograd.grad(logits, x, cotangent)
    arrays = {"x": x, "logits": logits, "cotangent": cotangent, "gradient": gradient}
    np.savez(folder / f"{name}.npz", **{key: value.detach().numpy() for key, value in arrays.items()})
    for exporter in ("old", "new"):
        axes = {"dynamic_axes": {"x": {0: "n"}}} if exporter == "old" else {"dynamic_shapes": ({0: "n"},)}
        try:
            torch.onnx.export(
                net,
                (x.detach(),),
                folder / f"{name}-{exporter}.onnx",
                input_names=["x"],
                output_names=["logits"],
                dynamo=exporter == "new",
                external_data=False,
                **axes,
            )
        except Exception as error:
            print(f"{name}: the {exporter} exporter fails: {str(error).splitlines()[:1]}", flush=True)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for chosen in sys.argv[2:] or NAMES:
        export(chosen, out)
        print(chosen, flush=True)
