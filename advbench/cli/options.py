"""Options that several commands share, in groups: a new one is a field here, and one of the same name in `Settings`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

ATTACKS = "With settings, if any: pgd:steps=100,restarts=5. Repeat it for more; cheap ones first."
TO = "FILE|-"


class Depth(StrEnum):
    """How hard to look for gradients that hide adversarial images."""

    none = "none"
    fast = "fast"
    full = "full"


MODEL = (
    "Run directory, released model, .safetensors, .onnx or .jaxexport file, robustbench:NAME, file.py:factory, "
    "module:factory, URL or .target.json file."
)

Model = Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)]
DATA = "Data set by name; a folder, .npz, .npy, .parquet, .csv, .tar or .mat file; or file.py:function."
Data = Annotated[str | None, typer.Option(help=f"{DATA} By default the model's own.")]
Resize = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="PIXELS", help="Of image files: bring the shorter side to this, as torchvision and timm do."
    ),
]
Crop = Annotated[int | None, typer.Option(min=1, metavar="PIXELS", help="Then take the square in the middle.")]
Interpolation = Annotated[
    str | None,
    typer.Option(help="nearest, bilinear, bicubic, lanczos, box or hamming, as Pillow's.", show_default="bilinear"),
]
Classes = Annotated[
    Path | None,
    typer.Option("--classes", metavar="FILE", help="Names of the classes, one a line, label 0 first."),
]
Transparent = Annotated[
    str | None, typer.Option(help="Of transparent images: keep as a fourth channel, or black or white behind them.")
]
SkipCorrupt = Annotated[bool, typer.Option("--skip-corrupt", help="Leave out images that can't be read.")]
Attacks = Annotated[list[str] | None, typer.Option("--attack", help=ATTACKS, show_default="fgsm, apgd, apgd:loss=dlr")]
Norm = Annotated[str | None, typer.Option(help="linf, l2, l1, l0 or any; by default what the model was trained for.")]
Eps = Annotated[str | None, typer.Option(help="Budget, white being 1, like 8/255 or 0.3.")]
EpsList = Annotated[str | None, typer.Option("--eps", help="Budget, white being 1, like 8/255 or 0.3; or a list.")]
Number = Annotated[int | None, typer.Option("-n", min=1, help="Attack the first N test images.", show_default="1000")]
Indices = Annotated[
    str | None,
    typer.Option(metavar="LIST|FILE", help="Test images by number, like 0-99,500, or a file of such, instead of -n."),
]
InputLayout = Annotated[
    str | None,
    typer.Option(
        metavar="LAYOUT",
        help="Order of axes the network was made for: nchw, nhwc, ncwh, nwhc, nhw, nwh, flat-chw, flat-hwc, flat-cwh "
        "or flat-whc; by default what fits best.",
    ),
]
Mean = Annotated[
    str | None, typer.Option(metavar="M,M,M", help="Subtracted from pixels in [0, 1] first, one for all or by channel.")
]
Std = Annotated[str | None, typer.Option(metavar="S,S,S", help="Then pixels are divided by it.")]
ExpectClean = Annotated[
    str | None, typer.Option(metavar="ACCURACY", help="Stop unless clean accuracy is like this, 0.69 or 69%.")
]
Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Put into the PyTorch or Keras model that file.py:factory or module:factory makes."
    ),
]
LogitsName = Annotated[
    str | None,
    typer.Option(
        "--logits",
        metavar="NAME",
        help="Output that holds the logits, where the model has several: a key, or a place from 0.",
        show_default="by name or width",
    ),
]
ExtraOutputs = Annotated[
    bool,
    typer.Option(
        "--allow-extra-outputs", help="The model may have more outputs than the data has classes: they are no features."
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Fixes every random start.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Results do not depend on it.")]
Out = Annotated[Path | None, typer.Option(help="Run directory: result, adversarial images, journal.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")]
Force = Annotated[bool, typer.Option("--force", help="Go on where the preflight says that numbers will mean nothing.")]
Checks = Annotated[Depth, typer.Option(help="How hard to look for masked gradients, before the attack.")]
Budget = Annotated[
    str | None, typer.Option(metavar="TIME", help="Stop in time, like 60s or 5m: what breaks most a second goes first.")
]
QueryBudget = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Ask a target behind a URL at most N images in all.")
]
Eot = Annotated[
    int | None, typer.Option(min=1, help="Draws averaged in each pass, for a randomised model.", show_default="20")
]
Wrap = Annotated[
    list[str] | None,
    typer.Option(
        help="Defense at inference, like jpeg:quality=75; repeat it, in the order images meet them.", show_default=False
    ),
]
Adaptive = Annotated[
    bool, typer.Option("--adaptive/--no-adaptive", help="Whether attacks know of the defenses at inference.")
]
Translate = Annotated[
    bool,
    typer.Option(
        "--translate/--no-translate",
        help="Whether attacks compute a translation of a PyTorch module to JAX; the judge asks the module itself.",
    ),
]
Json = Annotated[str | None, typer.Option(metavar=TO, help="Write the result object; - for stdout, and nothing else.")]
Markdown = Annotated[str | None, typer.Option(metavar=TO, help="Write the table as Markdown; - for stdout.")]


@dataclass(frozen=True)
class Asked:
    """What is attacked by what."""

    data: Data = None
    attacks: Attacks = None
    norm: Norm = None
    eps: EpsList = None
    n: Number = None
    indices: Indices = None


@dataclass(frozen=True)
class Pixels:
    """What a network does to its images first."""

    input_layout: InputLayout = None
    mean: Mean = None
    std: Std = None


@dataclass(frozen=True)
class Files:
    """How image files are read."""

    resize: Resize = None
    crop: Crop = None
    interpolation: Interpolation = None
    classes: Classes = None
    transparent: Transparent = None
    skip_corrupt: SkipCorrupt = False


@dataclass(frozen=True)
class Outputs:
    """Which of a network's outputs are meant."""

    logits: LogitsName = None
    allow_extra_outputs: ExtraOutputs = False


@dataclass(frozen=True)
class Fixed:
    """What every result names."""

    seed: Seed = 0
    batch_size: BatchSize = 128


@dataclass(frozen=True)
class Kept:
    """Where a run is kept."""

    out: Out = None
    resume: Resume = False


@dataclass(frozen=True)
class Running:
    """What surrounds the attacks."""

    force: Force = False
    checks: Checks = Depth.fast
    budget: Budget = None
    query_budget: QueryBudget = None
    eot: Eot = None
    wrap: Wrap = None
    adaptive: Adaptive = True
    translate: Translate = True


@dataclass(frozen=True)
class Written:
    """Where results go beside the terminal."""

    json: Json = None
    markdown: Markdown = None


def expanded(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take whole groups: each parameter that is one becomes an option for every field of it.

    A parameter of the command's own that has the name of a field takes its place.
    """
    hints = get_type_hints(command, include_extras=True)
    own = {
        name: parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in inspect.signature(command).parameters.items()
    }
    groups = {name: hints[name] for name in own if is_dataclass(hints[name])}
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in own.items():
        if name not in groups:
            options.setdefault(name, parameter)
            continue
        for each in fields(groups[name]):
            typed = inspect.Parameter(each.name, parameter.kind, default=each.default, annotation=each.type)
            options[each.name] = own.get(each.name, typed)

    def invoke(**typed: Any) -> None:
        made = {name: group(**{f.name: typed[f.name] for f in fields(group)}) for name, group in groups.items()}
        command(**{name: made[name] if name in made else typed[name] for name in own})

    invoke.__name__, invoke.__doc__, invoke.__module__ = command.__name__, command.__doc__, command.__module__
    invoke.__annotations__ = {name: option.annotation for name, option in options.items()}
    invoke.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    return invoke


def settings_of(*groups: Any, **own: Any) -> dict[str, Any]:
    """What was typed, by the names that `advbench.evaluate` has for it; the data apart, which is no setting."""
    typed = {name: value for group in groups for name, value in vars(group).items()} | own
    typed.pop("data", None)
    if isinstance(checks := typed.pop("checks", None), Depth):
        typed["preflight"] = checks.value
    return typed
