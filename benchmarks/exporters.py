"""PyTorch's layers and networks, written to ONNX by both of its exporters, against PyTorch: logits and input gradients.

    python benchmarks/exporters.py [--exporter old] [--opset N ...] [--only NAME ...] [--families] [--keep FILE]

Runs where torch, onnx and advbench are installed together; the newer exporter needs onnxscript, `--families` needs
torchvision and timm, whose networks get random weights. Every case is right, refused by name, or not exported by
PyTorch itself; a wrong one ends the command with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import importlib.util
import io
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from exported import CLASSES, Case, families, layers
from torch import nn

from advbench.core.errors import UsageError
from advbench.core.preprocess import Preprocess
from advbench.models.load import load_model

ALLOWED = (1e-5, 1e-4)  # of the largest logit and the largest slope, or four times PyTorch's own error
IMAGES = 3  # one more than networks are exported with
OPSETS = {"old": (9, 11, 13, 15, 17, 18, 20), "new": (18, 20, 21, 23, 24, 25)}
FEW = {"old": (11, 17), "new": (18, 23)}  # of whole networks
Outcome = dict[str, Any]
Pair = tuple[Any, Any]  # logits [N, K] and gradients [N, C, H, W], of NumPy


def seeded(case: Case) -> nn.Module:
    """A module in evaluation mode of which every part counts, and whose batch norms have seen images.

    Parameters that start at one small value, such as 0 for a last layer and 1e-6 for the scale of a block, get random
    ones; else networks compute next to nothing. Without the images, what deep ones compute hardly depends on the image.
    """
    torch.manual_seed(0)
    net = case.make()
    norms = [part for part in net.modules() if isinstance(part, nn.BatchNorm2d)]
    net.eval()
    for norm in norms:  # alone: in training mode some networks have heads that small images are too small for
        norm.train().momentum = 1.0
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.abs().max() <= 0.1 and parameter.min() == parameter.max():
                parameter.normal_(std=0.1)
        if norms:
            net(torch.rand(4, 3, case.side, case.side))
    return net.eval()


def verdict(net: nn.Module, side: int, exporter: str, opset: int, folder: Path) -> tuple[str, Any]:
    """One of right, refused, wrong and not exported, and the errors of logits and gradient, or why.

    Errors, ours and then those of PyTorch's float32, are against PyTorch in double precision. Of gradients the image
    counts that is off by the median: in another one, a ReLU that is 0 but for rounding may fall either way. In networks
    that amplify rounding it does so in most images: then, of three times as many, the one at the lower quartile counts.
    """
    truth = _truth(net, side, IMAGES)
    axes: dict[str, Any] = {"dynamic_axes": {"x": {0: "n"}}} if exporter == "old" else {"dynamic_shapes": ({0: "n"},)}
    path = folder / "model.onnx"
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(
                net, (truth.x[1:],), path, input_names=["x"], opset_version=opset, dynamo=exporter == "new", **axes
            )
    except Exception as error:  # whatever the exporter can't do
        return "not exported", " ".join(re.sub(r"\x1b\[\d+m", "", str(error)).split())[:90]
    for count, share in ((IMAGES, 0.5), (3 * IMAGES, 0.25)):
        truth = truth if count == IMAGES else _truth(net, side, count)
        try:
            model = load_model(str(path), Preprocess("nchw"))
            images = truth.x.numpy().transpose(0, 2, 3, 1)
            got, slope = jax.jit(_answered)(model.predict, images, truth.cotangent.numpy())
        except UsageError as error:
            return "refused", str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")[:150]
        rounded = _errors(truth.single, truth.double, share)
        allowed = [max(least, 4 * error) for least, error in zip(ALLOWED, rounded, strict=True)]
        off = _errors((np.asarray(got), np.asarray(slope).transpose(0, 3, 1, 2)), truth.double, share)
        if all(error <= most for error, most in zip(off, allowed, strict=True)):
            return "right", off + rounded
        if not off[0] <= allowed[0]:
            break
    far = f"{off[0]:.1e}, {off[1]:.1e} (PyTorch's own: {rounded[0]:.1e}, {rounded[1]:.1e})"
    if off[0] > allowed[0] and model.compare and model.compare(model, images) is None:
        return "PyTorch writes another function, as ONNX Runtime agrees", far
    return "wrong", far


class Truth(NamedTuple):
    """Images, weights of logits, and what PyTorch makes of them in single and in double precision."""

    x: torch.Tensor
    cotangent: torch.Tensor
    single: Pair
    double: Pair


def _truth(net: nn.Module, side: int, count: int) -> Truth:
    torch.manual_seed(1)
    x = torch.rand(count, 3, side, side)
    cotangent = torch.randn(count, CLASSES)
    fresh = net.train().eval()  # without what timm's attention keeps of earlier images
    single = _differentiated(fresh, x, cotangent)
    return Truth(x, cotangent, single, _exact(fresh, x, cotangent) or single)


def _differentiated(net: nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> Pair:
    """PyTorch's logits, of several outputs the first, and their gradient."""
    x = x.clone().requires_grad_()
    logits = net(x)
    logits = logits[0] if isinstance(logits, tuple) else logits
    (gradient,) = torch.autograd.grad(logits, x, cotangent.to(logits.dtype))
    return logits.detach().numpy(), gradient.numpy()


def _exact(net: nn.Module, x: torch.Tensor, cotangent: torch.Tensor) -> Pair | None:
    """The same in double precision; None for a network that makes float32 constants which don't go with it."""
    try:
        return _differentiated(copy.deepcopy(net.train().eval()).double(), x.double(), cotangent)
    except RuntimeError:
        return None


def _errors(found: Pair, true: Pair, share: float) -> list[float]:
    """Return the relative errors of the logits, and of the gradient of the image at a quantile."""
    slopes = [_off(*each) for each in zip(found[1], true[1], strict=True)]
    return [_off(found[0], true[0]), float(np.quantile(slopes, share))]


def _answered(predict: Any, images: Any, cotangent: Any) -> tuple[Any, Any]:
    logits, pull = jax.vjp(predict, images)
    return logits, pull(cotangent)[0]


def _off(found: Any, true: Any) -> float:
    """The largest difference over the largest magnitude."""
    wanted = true.astype(np.float64)
    return float(np.abs(found.astype(np.float64) - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def table(cases: Iterable[Case], opsets: dict[str, tuple[int, ...]], kept: Path | None = None) -> list[Outcome]:
    """Try each case with each exporter and opset, but for what `kept`, a file of JSON lines, has already."""
    told = [json.loads(line) for line in kept.read_text().splitlines()] if kept and kept.exists() else []
    done = {(each["case"], each["exporter"], each["opset"]): each for each in told}
    outcomes = []
    for case in cases:
        asked = [(case.name, exporter, opset) for exporter, versions in opsets.items() for opset in versions]
        net = None if all(key in done for key in asked) else seeded(case)
        for key in asked:
            if key not in done:
                done[key] = dict(zip(("case", "exporter", "opset"), key, strict=True)) | tried(net, case.side, *key[1:])
                if kept:
                    with kept.open("a") as file:
                        file.write(json.dumps(done[key]) + "\n")
        these = [each for (name, *_), each in done.items() if name == case.name]
        print(row(these), flush=True)
        outcomes += these
    return outcomes


def tried(net: Any, side: int, exporter: str, opset: int) -> Outcome:
    """Export and compare with one exporter at one opset."""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind, what = verdict(net, side, exporter, opset, Path(folder))
    jax.clear_caches()
    return {"kind": kind, "what": what}


def row(outcomes: Sequence[Outcome]) -> str:
    """Outcomes of cases that all have the same ones, as a row of a table."""
    cells = ["`" + "` `".join(dict.fromkeys(each["case"] for each in outcomes)) + "`"]
    for exporter in OPSETS:
        these = [each for each in outcomes if each["exporter"] == exporter]
        found: dict[str, set[int]] = {}
        for each in sorted(these, key=lambda each: each["kind"] != "right"):
            why = "" if each["kind"] == "right" else f" {each['kind']}: {each['what']}"
            found.setdefault(why, set()).add(each["opset"])
        cells.append("; ".join(", ".join(map(str, sorted(where))) + why for why, where in found.items()))
    right = [each["what"] for each in outcomes if each["kind"] == "right"]
    worst = [f"{max(values):.1e}" for values in zip(*right, strict=True)] or [""] * 4
    return f"| {' | '.join([*(cell.replace('|', '/') for cell in cells), *worst])} |"


def summary(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Cases of one outcome, joined; those apart that are right because PyTorch's own error is large."""
    of_case: dict[str, list[Outcome]] = {}
    for each in outcomes:
        of_case.setdefault(each["case"], []).append(each)
    alike: dict[str, list[Outcome]] = {}
    for these in of_case.values():
        ordered = sorted(these, key=lambda each: (each["exporter"], each["opset"]))
        said = [(e["exporter"], e["opset"], e["kind"], _told(e)) for e in ordered]
        alike.setdefault(json.dumps(said), []).extend(ordered)
    yield from map(row, alike.values())


def _told(outcome: Outcome) -> Any:
    if outcome["kind"] != "right":
        return outcome["what"]
    return all(error <= most for error, most in zip(outcome["what"], ALLOWED, strict=False))


def main() -> int:
    """Run the sweep; 1 where anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opset", type=int, nargs="+", help="instead of those that each exporter writes")
    parser.add_argument("--exporter", choices=OPSETS, help="the older (TorchScript) or the newer one alone")
    parser.add_argument("--only", nargs="+", help="names of layers or networks")
    parser.add_argument("--families", action="store_true", help="torchvision's and timm's networks, not single layers")
    parser.add_argument("--keep", type=Path, help="a file of JSON lines to go on with")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, jax {jax.__version__}")
    usual = FEW if arguments.families else OPSETS
    opsets = {name: tuple(arguments.opset or usual[name]) for name in OPSETS if arguments.exporter in (None, name)}
    if importlib.util.find_spec("onnxscript") is None:
        print("the newer exporter is skipped: onnxscript is not installed")
        opsets.pop("new", None)
    chosen = families() if arguments.families else layers()
    cases = (case for case in chosen if not arguments.only or case.name in arguments.only)
    outcomes = table(cases, opsets, arguments.keep)
    print("\n| network | `dynamo=False` | `dynamo=True` | logits | gradient | PyTorch's logits | PyTorch's gradient |")
    print("|---|---|---|---:|---:|---:|---:|")
    print(*summary(outcomes), sep="\n")
    return int(any(each["kind"] == "wrong" for each in outcomes))


if __name__ == "__main__":
    sys.exit(main())
