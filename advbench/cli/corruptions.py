"""`advbench corruptions`: how a model does on noisy, blurred and weathered images, without an adversary."""

from __future__ import annotations

from typing import Annotated

import typer

from advbench.cli.options import (
    Data,
    Files,
    Fixed,
    Model,
    Number,
    Outputs,
    Pixels,
    Weights,
    Written,
    expanded,
    settings_of,
)


@expanded
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
    *,
    pixels: Pixels,
    weights: Weights = None,
    outputs: Outputs,
    files: Files,
    fixed: Fixed,
    written: Written,
) -> None:
    """Corrupt test images in many ways, as MNIST-C and CIFAR-10-C do, and print what a model still gets right."""
    from advbench.api.corrupting import corrupted
    from advbench.api.runtime import prepare
    from advbench.api.settings import Settings
    from advbench.cli import output
    from advbench.reports import sheet

    output.check(written.json, written.markdown)
    own = {"n": n, "weights": weights, "notify": output.say}
    settings = Settings(**settings_of(pixels, files, outputs, fixed, **own))
    prepare()

    def tell(name: str, kind: str, done: int, total: int) -> None:
        typer.echo(f"{name}: {kind}: {done} of {total}", err=True)

    result = corrupted(model, data, settings, kinds=kind, severities=severity, tell=tell)
    output.show(sheet.of_corruptions(result), result.to_json(), written.json, written.markdown)
