"""`advbench corruptions`: how a model does on noisy, blurred and weathered images, without an adversary."""

from __future__ import annotations

from typing import Annotated

import typer

from advbench.cli.options import (
    BatchSize,
    Classes,
    Crop,
    Data,
    ExtraOutputs,
    InputLayout,
    Interpolation,
    Json,
    LogitsName,
    Markdown,
    Mean,
    Model,
    Number,
    Resize,
    Seed,
    SkipCorrupt,
    Std,
    Transparent,
    Weights,
)
from advbench.core.names import found


def corruptions(
    model: Model,
    data: Data = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="Corruption; repeat it for more.", show_default="all of the data's kinds")
    ] = None,
    severity: Annotated[
        list[int] | None, typer.Option(min=1, max=5, help="Repeat it for more.", show_default="1 to 5")
    ] = None,
    n: Number = None,
    input_layout: InputLayout = None,
    mean: Mean = None,
    std: Std = None,
    weights: Weights = None,
    allow_extra_outputs: ExtraOutputs = False,
    classes: Classes = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    logits: LogitsName = None,
    resize: Resize = None,
    skip_corrupt: SkipCorrupt = False,
    transparent: Transparent = None,
    seed: Seed = 0,
    batch_size: BatchSize = 128,
    json: Json = None,
    markdown: Markdown = None,
) -> None:
    """Corrupt test images in many ways, as MNIST-C and CIFAR-10-C do, and print what a model still gets right."""
    from advbench.cli import output, targets
    from advbench.cli.runtime import prepare
    from advbench.cli.subject import subject

    output.check(json, markdown)
    prepare()
    from advbench.core.preprocess import Preprocess
    from advbench.data import Reading
    from advbench.data.corruptions import SEVERITIES, kinds
    from advbench.evaluation.corrupted import measure
    from advbench.reports import sheet

    preprocess = Preprocess.parse(input_layout, mean, std)
    reading = Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt)
    loaded, images, indices = subject(
        model, data, n, preprocess=preprocess, weights=weights, logits=logits, reading=reading
    )
    loaded = targets.ready(loaded, images, indices)
    known = kinds(images.images.shape[-1])
    kind = kind and [found(f"{images.name} corruption", name, known) for name in kind]
    loaded.require(images)

    def tell(name: str, done: int, total: int) -> None:
        if done % len(levels) == 0:
            typer.echo(f"{loaded.name}: {name}: {done} of {total}", err=True)

    levels = tuple(sorted(set(severity or SEVERITIES)))
    chosen = tuple(dict.fromkeys(kind or known))
    result = measure(
        loaded,
        images,
        indices,
        chosen,
        levels,
        seed=seed,
        batch_size=batch_size,
        tell=tell,
        allow_extra_outputs=allow_extra_outputs,
    )
    output.show(sheet.of_corruptions(result), result.to_json(), json, markdown)
