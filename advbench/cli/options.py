"""Options that several commands share, in groups: a new one is a field here, and one of the same name in `Settings`."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from advbench.cli import panels
from advbench.cli.panels import SPEC, TO, argument, option


class Depth(StrEnum):
    """Depth of the preflight check for masked gradients."""

    none = "none"
    fast = "fast"
    full = "full"


MODEL = (
    "Run directory, released model, .safetensors, .onnx or .jaxexport file, robustbench:NAME, file.py:factory, "
    "module:factory, URL or .target.json file."
)
DATA = "Data set by name; a folder, .npz, .npy, .parquet, .csv, .tar or .mat file; or file.py:function."
DATA_FORM = "NAME|PATH"
NORM_FORM = "linf|l2|l1|l0|any"
OWN = "the model's own"

Model = Annotated[str, argument(panels.MODEL, "MODEL", MODEL)]
Data = Annotated[str | None, option(panels.DATA, DATA_FORM, DATA, show_default=OWN)]
Resize = Annotated[
    int | None,
    option(panels.DATA, "PIXELS", "Resize the shorter side of image files to this, as torchvision and timm do.", min=1),
]
Crop = Annotated[int | None, option(panels.DATA, "PIXELS", "Then crop the square in the centre.", min=1)]
Interpolation = Annotated[
    str | None,
    option(
        panels.DATA,
        "FILTER",
        "Filter of --resize: nearest, bilinear, bicubic, lanczos, box or hamming, as in Pillow.",
        show_default="bilinear",
    ),
]
Classes = Annotated[
    Path | None, option(panels.DATA, "FILE", "File of class names, one a line, label 0 first.", "--classes")
]
Transparent = Annotated[
    str | None,
    option(
        panels.DATA,
        "keep|black|white",
        "Transparent images: keep alpha as a fourth channel, or put them on black or white.",
    ),
]
SkipCorrupt = Annotated[bool, option(panels.DATA, None, "Leave out images that cannot be read.", "--skip-corrupt")]
Attacks = Annotated[
    list[str] | None,
    option(
        panels.ATTACKS,
        SPEC,
        "Attack, with settings if any: pgd:steps=100,restarts=5. Repeat for more, cheap attacks first.",
        "--attack",
        show_default="fgsm, apgd, apgd:loss=dlr",
    ),
]
Norm = Annotated[str | None, option(panels.THREAT, NORM_FORM, "Norm that bounds perturbations.", show_default=OWN)]
EPS = "Perturbation budget for pixels in [0, 1], like 8/255 or 0.3"
Eps = Annotated[str | None, option(panels.THREAT, "EPS", f"{EPS}.", show_default=OWN)]
EpsList = Annotated[
    str | None,
    option(panels.THREAT, "EPS[,EPS...]", f"{EPS}; several make a curve.", "--eps", show_default=OWN),
]
Number = Annotated[
    int | None, option(panels.DATA, "N", "Use the first N test images.", "-n", min=1, show_default="1000")
]
Indices = Annotated[
    str | None,
    option(panels.DATA, "LIST|FILE", "Use these test images, like 0-99,500, or a file of numbers; instead of -n."),
]
InputLayout = Annotated[
    str | None,
    option(
        panels.MODEL,
        "LAYOUT",
        "Axis order that the network expects: nchw, nhwc, ncwh, nwhc, nhw, nwh, flat-chw, flat-hwc, flat-cwh or "
        "flat-whc.",
        show_default="the one that fits best",
    ),
]
Mean = Annotated[
    str | None,
    option(panels.MODEL, "M[,M...]", "Subtract this from pixels in [0, 1]; one value, or one for each channel."),
]
Std = Annotated[str | None, option(panels.MODEL, "S[,S...]", "Then divide pixels by this, likewise.")]
ExpectClean = Annotated[
    str | None,
    option(panels.CHECKS, "ACCURACY", "Stop unless the model has this clean accuracy, like 0.69 or 69%."),
]
Weights = Annotated[
    Path | None,
    option(
        panels.MODEL, "FILE", "Weights for the PyTorch or Keras model that file.py:factory or module:factory makes."
    ),
]
LogitsName = Annotated[
    str | None,
    option(
        panels.MODEL,
        "NAME|N",
        "Output that holds the logits, where the model has several: its key, or its position from 0.",
        "--logits",
        show_default="by name or width",
    ),
]
ExtraOutputs = Annotated[
    bool,
    option(
        panels.MODEL,
        None,
        "Accept more outputs than the data has classes. Such outputs may be features instead of logits.",
        "--allow-extra-outputs",
    ),
]
Seed = Annotated[int, option(panels.RUN, "N", "Seed of all random numbers.", min=0, max=2**32 - 1)]
BatchSize = Annotated[int, option(panels.RUN, "N", "Images in a batch. Results do not depend on it.", min=1)]
Out = Annotated[
    Path | None, option(panels.OUTPUT, "DIR", "Run directory for the result, adversarial images and a journal.")
]
Resume = Annotated[bool, option(panels.OUTPUT, None, "Continue the run in --out.", "--resume")]
Force = Annotated[
    bool, option(panels.CHECKS, None, "Continue even if a check says that results will be invalid.", "--force")
]
Preflight = Annotated[
    Depth, option(panels.CHECKS, "none|fast|full", "Depth of the check for masked gradients before the attacks.")
]
TimeLimit = Annotated[
    str | None,
    option(
        panels.LIMITS,
        "TIME",
        "Stop after TIME, like 60s or 5m; the attack that breaks most images per second runs first.",
    ),
]
QueryLimit = Annotated[
    int | None, option(panels.LIMITS, "N", "Send at most N images in all to a model behind a URL.", min=1)
]
EotSamples = Annotated[
    int | None,
    option(panels.ATTACKS, "N", "Draws averaged in each pass through a randomised model.", min=1, show_default="20"),
]
InputDefense = Annotated[
    list[str] | None,
    option(
        panels.MODEL,
        SPEC,
        "Defense at inference, like jpeg:quality=75. Repeat for more, in the order in which images pass them.",
        show_default=False,
    ),
]
Adaptive = Annotated[
    bool,
    option(
        panels.ATTACKS, None, "Attacks know the input defenses; or do not, which is weaker.", "--adaptive/--no-adaptive"
    ),
]
Translate = Annotated[
    bool,
    option(
        panels.MODEL,
        None,
        "Attacks compute a translation of a PyTorch module to JAX; the judge asks the module itself.",
        "--translate/--no-translate",
    ),
]
Json = Annotated[
    str | None, option(panels.OUTPUT, TO, "Write the result as JSON; - for stdout, which then gets nothing else.")
]
Markdown = Annotated[str | None, option(panels.OUTPUT, TO, "Write the table as Markdown; - for stdout.")]
ToStdout = Annotated[bool, option(panels.OUTPUT, None, "Print JSON instead of a table.", "--json")]


@dataclass(frozen=True)
class Asked:
    """Data, threat model and attacks."""

    data: Data = None
    attacks: Attacks = None
    norm: Norm = None
    eps: EpsList = None
    n: Number = None
    indices: Indices = None


@dataclass(frozen=True)
class Pixels:
    """Preprocessing of a network."""

    input_layout: InputLayout = None
    mean: Mean = None
    std: Std = None


@dataclass(frozen=True)
class Files:
    """Reading of image files."""

    resize: Resize = None
    crop: Crop = None
    interpolation: Interpolation = None
    classes: Classes = None
    transparent: Transparent = None
    skip_corrupt: SkipCorrupt = False


@dataclass(frozen=True)
class Outputs:
    """Choice among the outputs of a network."""

    logits: LogitsName = None
    allow_extra_outputs: ExtraOutputs = False


@dataclass(frozen=True)
class Fixed:
    """Seed and batch size, which every result names."""

    seed: Seed = 0
    batch_size: BatchSize = 128


@dataclass(frozen=True)
class Kept:
    """Run directory."""

    out: Out = None
    resume: Resume = False


@dataclass(frozen=True)
class Conditions:
    """Circumstances of the attacks."""

    preflight: Preflight = Depth.fast
    time_limit: TimeLimit = None
    query_limit: QueryLimit = None
    eot_samples: EotSamples = None
    input_defense: InputDefense = None
    adaptive: Adaptive = True
    translate: Translate = True


@dataclass(frozen=True)
class Running(Conditions):
    """Likewise; and whether to go on in spite of findings, of which a gate allows each by name."""

    force: Force = False


@dataclass(frozen=True)
class Written:
    """Files for results, beside the table on the terminal."""

    json: Json = None
    markdown: Markdown = None
