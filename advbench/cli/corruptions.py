"""`advbench corruptions`: accuracy on noisy, blurred and weathered images, without an adversary."""

from __future__ import annotations

from typing import Annotated

import typer

from advbench.cli import panels
from advbench.cli.groups import expanded, settings_of
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
)
from advbench.cli.panels import option


@expanded
def corruptions(
    model: Model,
    data: Data = None,
    kind: Annotated[
        list[str] | None,
        option(
            panels.CORRUPTIONS, "NAME", "Corruption, like fog. Repeat for more.", show_default="all for the data set"
        ),
    ] = None,
    severity: Annotated[
        list[int] | None,
        option(panels.CORRUPTIONS, "1-5", "Severity. Repeat for more.", min=1, max=5, show_default="all five"),
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
    """Print the accuracy of a model under common corruptions, like those of MNIST-C and CIFAR-10-C."""
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
