"""`advbench data`: fetch data sets, and see what is here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from advbench.cli.options import (
    DATA,
    MODEL,
    Classes,
    Crop,
    Interpolation,
    Resize,
    Transparent,
)

data = typer.Typer(no_args_is_help=True, help="Fetch data sets, and see what is here.")


@data.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, fashion-mnist, cifar10 or cifar100.")],
    source: Annotated[
        list[Path] | None,
        typer.Option("--from", help="Folder that holds the official files, instead of looking online; repeats."),
    ] = None,
) -> None:
    """Bring a whole data set here, proven by the digests of its official files."""
    from advbench.data.fetch import fetch as bring

    with _downloading(name) as tell:
        folder = bring(name, sources=source, progress=tell)
    typer.echo(f"{name} is in {folder}")


@data.command()
def info(
    json: Annotated[bool, typer.Option("--json", help="As JSON, to stdout.")] = False,
) -> None:
    """Show what is here of every data set; everything is read and its digests are checked."""
    from advbench.data import info as statuses

    found = statuses()
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps([asdict(status) for status in found], indent=1))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("data set", "split", "images", "where", box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.columns[2].justify = "right"
    for status in found:
        images = f"{status.available:,} of {status.total:,}" if status.available else "none"
        where = status.problem or status.where or f"advbench data fetch {status.name}"
        table.add_row(
            status.name, status.split, images, Text(where, overflow="fold"), style="red" if status.problem else ""
        )
    Console().print(table)


@data.command()
def inspect(
    path: Annotated[str, typer.Argument(metavar="PATH", help=DATA)],
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    thumbnails: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Write ten of the images.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, to stdout.")] = False,
) -> None:
    """Show what a folder or file holds: splits, classes, counts, sizes, ranges, digests, and what is wrong with it.

    Exits with 4 when images can't be read.
    """
    from advbench.api.subject import looking
    from advbench.cli.output import say, write
    from advbench.data import CorruptData, Reading
    from advbench.data.overview import inspect as look

    reading = Reading.parse(resize, crop, interpolation, classes, transparent)
    kind, found, picture = look(path, reading, looking(path, say))
    if thumbnails:
        write(thumbnails, picture)
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps({"path": path, "kind": kind, "splits": [asdict(each) for each in found]}, indent=1))
    else:
        from advbench.cli.output import tabulate
        from advbench.reports.data import of_overviews

        tabulate(of_overviews(path, kind, found))
    if bad := sum(len(each.corrupt) for each in found):
        raise CorruptData(f"{bad} images of {path} can't be read; --skip-corrupt leaves them out where data are used")


@data.command("pseudo-label")
def pseudo_label(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=MODEL)],
    file: Annotated[Path, typer.Argument(metavar="FILE.npz", help="With image, uint8 [N,H,W,C]; labels are ignored.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npz", help="Where images and labels go: `train --extra-data`.")],
) -> None:
    """Label images by what a model predicts for them, so that a robust one can be trained on them."""
    from advbench.api.runtime import prepare

    prepare()
    import io

    import numpy as np

    from advbench.cli.output import write
    from advbench.data.extra import labelled, read_images
    from advbench.models.load import load_model

    loaded = load_model(model)
    images = read_images(file, loaded.shape)
    labels = labelled(loaded.predict, images)
    content = io.BytesIO()
    np.savez_compressed(content, image=images, label=labels)
    write(out, content.getvalue())
    typer.echo(f"{len(images):,} images in {len(np.unique(labels))} classes written to {out}")


@contextmanager
def _downloading(name: str) -> Iterator[Callable[[int, int | None], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
