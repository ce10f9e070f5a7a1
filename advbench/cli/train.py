"""`advbench train`: train a network, robustly or not."""

from __future__ import annotations

import shlex
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from advbench.cli.options import (
    DATA,
    Classes,
    Crop,
    Interpolation,
    Resize,
    SkipCorrupt,
    Transparent,
)
from advbench.core.errors import UsageError


def train(
    dataset: Annotated[str, typer.Argument(help=DATA)],
    arch: Annotated[
        str,
        typer.Option(
            help="Network; see `advbench list networks`, or file.py:factory, (shape, classes, *, rngs) of yours."
        ),
    ] = "small-cnn",
    model: Annotated[str | None, typer.Option(hidden=True, help="Former name of --arch.")] = None,
    defense: Annotated[str, typer.Option(help="With settings, if any: trades:beta=6,steps=10.")] = "pgd",
    norm: Annotated[str | None, typer.Option(help="linf, l2 or l1; by default the data set's.")] = None,
    eps: Annotated[str | None, typer.Option(help="Budget, like 8/255 or 0.3; by default the data set's.")] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training images.")] = 20,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Fixes weights, order, augmentation and attacks.")
    ] = 0,
    seeds: Annotated[
        str | None, typer.Option(metavar="LIST", help="Train once for each, like 0,1,2, into --out/seed-N.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Run directory: model, metrics and checkpoints.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint in --out.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            metavar="RUN", help="Start from weights: a run directory, a released model, or a .safetensors file."
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 128,
    optimizer: Annotated[str, typer.Option(help="adam, or sgd with Nesterov momentum.")] = "adam",
    lr: Annotated[float, typer.Option(help="Learning rate at its peak.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="constant, cosine, one-cycle or piecewise.")] = "cosine",
    milestones: Annotated[
        str,
        typer.Option(metavar="LIST", help="Of piecewise: epochs after which the learning rate is a tenth, like 10,15."),
    ] = "",
    warmup: Annotated[float, typer.Option(help="Epochs in which the learning rate rises.")] = 0.0,
    weight_decay: Annotated[
        float, typer.Option(help="Decoupled for adam (AdamW), part of the gradient for sgd; 0: none.")
    ] = 0.0,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.")] = 0.0,
    label_smoothing: Annotated[float, typer.Option(help="Share of each label that is spread over all classes.")] = 0.0,
    class_weights: Annotated[
        str, typer.Option(help="In the loss: none, balanced, or a number for each class, like 1,2.5.")
    ] = "none",
    sampler: Annotated[str, typer.Option(help="none, or balanced: batches have as much of every class.")] = "none",
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0: no averaging.")] = 0.0,
    swa: Annotated[
        float, typer.Option(help="Share of the epochs after which weights are averaged once an epoch; 0: never.")
    ] = 0.0,
    eps_warmup: Annotated[float, typer.Option(help="Epochs in which eps rises from 0.")] = 0.0,
    augment: Annotated[str, typer.Option(help="none or crop-flip.")] = "none",
    mix: Annotated[str, typer.Option(help="none, mixup or cutmix: each image with another of its batch.")] = "none",
    mix_alpha: Annotated[float, typer.Option(help="Shares are drawn from Beta(alpha, alpha).")] = 1.0,
    extra_data: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="More training images: image uint8 [N,H,W,C], label [N].")
    ] = None,
    extra_fraction: Annotated[float, typer.Option(help="Share of each batch that is extra data.")] = 0.5,
    craft: Annotated[
        str, typer.Option(help="float32, or bfloat16: what images are crafted in. Faster on GPUs and TPUs.")
    ] = "float32",
    validation: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images to choose the weights by: of a val split beside train and test, else held out of train.",
            show_default="1000; a tenth of few",
        ),
    ] = None,
    patience: Annotated[int, typer.Option(min=0, help="Epochs without progress before the end; 0: all.")] = 0,
    train_size: Annotated[
        int | None, typer.Option(min=1, help="Use only the first images of the training set.")
    ] = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    skip_corrupt: SkipCorrupt = False,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Train together with the other processes of this job.")
    ] = False,
    json: Annotated[Path | None, typer.Option("--json", help="Write the summary as JSON; - for stdout.")] = None,
) -> None:
    """Train a network and write it, with its metrics and checkpoints, to a run directory."""
    runs = {number: out / f"seed-{number}" for number in _numbers(seeds)} if seeds is not None else {seed: out}
    if seeds is not None and seed:
        raise UsageError("give --seed or --seeds, not both")
    if model is not None:
        typer.echo("advbench: note: --model is now --arch", err=True)
        arch = model

    from advbench.api.runtime import prepare

    prepare()  # before anything imports jax

    from advbench.api.checked_training import Training
    from advbench.api.training import vacant
    from advbench.cli.cluster import join, together
    from advbench.cli.output import say
    from advbench.cli.signals import listening
    from advbench.cli.train_progress import Bar
    from advbench.core.devices import leads
    from advbench.data import Reading
    from advbench.defenses.recipe import Recipe

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        milestones=milestones,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        sampler=sampler,
        ema=ema,
        swa=swa,
        eps_warmup=eps_warmup,
        augment=augment,
        mix=mix,
        mix_alpha=mix_alpha,
        extra_fraction=extra_fraction,
        craft=craft,
        validation=validation or 1000,
        patience=patience,
        seed=seed,
    )
    if distributed:
        join()
    with together():
        if leads():
            vacant(runs.values(), resume)
        reading = Reading.parse(resize, crop, interpolation, classes, transparent, skip_corrupt)
        asked: Any = {"validation": validation, "train_size": train_size, "extra_data": extra_data, "init": init}
        how: Any = {"reading": reading, "notify": say}
        training = Training.of(dataset, arch, defense, norm, eps, recipe, **asked, **how)
        command = shlex.join(["advbench", *sys.argv[1:]])
        records = []
        with listening() as stop:
            for number, folder in runs.items():
                with Bar(quiet=not leads()) as bar:
                    if seeds is not None:
                        bar.say(f"seed {number}")
                    going: Any = {"resume": resume, "should_stop": stop, "listeners": [bar], "command": command}
                    records.append(training.run(number, folder, **going).record)
    if not leads():
        return
    if seeds is None:
        _tell(records[0], out, json)
    else:
        _tell_all(records, out, json)


def _numbers(seeds: str) -> list[int]:
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {seeds!r} is no list of numbers like 0,1,2") from None
    if len(set(numbers)) < len(numbers) or not all(0 <= number < 2**32 for number in numbers):
        raise UsageError(f"--seeds {seeds!r} must name each seed once, from 0 to 2**32 - 1")
    return numbers


def _tell(record: dict[str, Any], out: Path, json: Path | None) -> None:
    if _json({"model": str(out), **record}, json):
        return
    best = record["validation"]
    typer.echo(
        f"best epoch {best['epoch']}: clean {best['clean']:.2%}, {best['robust_against']} {best['robust']:.2%} "
        f"on {record['images']['validated_on']} validation images"
    )
    typer.echo(f"model written to {out}")


def _tell_all(records: list[dict[str, Any]], out: Path, json: Path | None) -> None:
    from advbench.cli.output import tabulate, write
    from advbench.reports import seeds

    summary = seeds.summary(str(out), records)
    write(out / "seeds.json", (dumps(summary, indent=2) + "\n").encode())
    if _json(summary, json):
        return
    tabulate(seeds.of_seeds(summary))
    typer.echo(f"models written to {out}/seed-N, the summary to {out / 'seeds.json'}")


def _json(content: dict[str, Any], json: Path | None) -> bool:
    """Write it where asked for; True if that was stdout, which then gets nothing else."""
    from advbench.cli.output import emit

    target = str(json) if json else None
    emit(target, dumps(content, indent=2) + "\n")
    return target == "-"
