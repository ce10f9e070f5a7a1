"""`advbench train`: adversarial or standard training of a network."""

from __future__ import annotations

import shlex
import sys
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from advbench.cli import panels
from advbench.cli.options import (
    DATA,
    EPS,
    Classes,
    Crop,
    Interpolation,
    Resize,
    SkipCorrupt,
    Transparent,
)
from advbench.cli.panels import SPEC, TO, argument, option
from advbench.core.errors import UsageError


def train(
    dataset: Annotated[str, argument(panels.DATA, "DATASET", DATA)],
    arch: Annotated[
        str,
        option(
            panels.NETWORK,
            "NAME|CODE",
            "Network: a name of `advbench list networks`, or file.py:factory, a function (shape, classes, *, rngs).",
        ),
    ] = "small-cnn",
    defense: Annotated[
        str,
        option(panels.DEFENSE, SPEC, "Training objective, with settings if any: trades:beta=6,steps=10."),
    ] = "pgd",
    norm: Annotated[
        str | None,
        option(panels.THREAT, "linf|l2|l1", "Norm that bounds perturbations.", show_default="the data set's"),
    ] = None,
    eps: Annotated[str | None, option(panels.THREAT, "EPS", f"{EPS}.", show_default="the data set's")] = None,
    epochs: Annotated[int, option(panels.OPTIMISATION, "N", "Passes over the training images.", min=1)] = 20,
    seed: Annotated[
        int,
        option(panels.RUN, "N", "Seed of weights, order, augmentation and attacks.", min=0, max=2**32 - 1),
    ] = 0,
    seeds: Annotated[
        str | None,
        option(panels.RUN, "N,N,...", "Train once for each seed, like 0,1,2, into --out/seed-N."),
    ] = None,
    out: Annotated[Path, option(panels.OUTPUT, "DIR", "Run directory for the model, metrics and checkpoints.")] = Path(
        "runs/train"
    ),
    resume: Annotated[
        bool, option(panels.OUTPUT, None, "Continue from the newest intact checkpoint in --out.", "--resume")
    ] = False,
    init: Annotated[
        str | None,
        option(panels.NETWORK, "MODEL", "Initial weights: a run directory, a released model, or a .safetensors file."),
    ] = None,
    batch_size: Annotated[int, option(panels.OPTIMISATION, "N", "Images in a step.", min=1)] = 128,
    optimizer: Annotated[
        str, option(panels.OPTIMISATION, "adam|sgd", "Optimiser; sgd has Nesterov momentum 0.9.")
    ] = "adam",
    lr: Annotated[float, option(panels.OPTIMISATION, "RATE", "Peak learning rate.")] = 1e-3,
    schedule: Annotated[
        str, option(panels.OPTIMISATION, "NAME", "Learning-rate schedule: constant, cosine, one-cycle or piecewise.")
    ] = "cosine",
    milestones: Annotated[
        str,
        option(
            panels.OPTIMISATION,
            "N,N,...",
            "For piecewise: divide the learning rate by 10 after these epochs, like 10,15.",
        ),
    ] = "",
    warmup: Annotated[float, option(panels.OPTIMISATION, "EPOCHS", "Epochs of linear learning-rate warm-up.")] = 0.0,
    weight_decay: Annotated[
        float,
        option(panels.REGULARISATION, "RATE", "Weight decay: decoupled for adam (AdamW), in the gradient for sgd."),
    ] = 0.0,
    clip: Annotated[float, option(panels.OPTIMISATION, "NORM", "Clip the gradient to this norm; 0: do not.")] = 0.0,
    label_smoothing: Annotated[
        float, option(panels.REGULARISATION, "SHARE", "Share of each label that is spread over all classes.")
    ] = 0.0,
    class_weights: Annotated[
        str,
        option(
            panels.REGULARISATION,
            "WEIGHTS",
            "Weights of classes in the loss: none, balanced, or a number for each class, like 1,2.5.",
        ),
    ] = "none",
    sampler: Annotated[
        str, option(panels.OPTIMISATION, "none|balanced", "balanced: every class is equally likely in a batch.")
    ] = "none",
    ema: Annotated[
        float, option(panels.REGULARISATION, "DECAY", "Decay of an exponential average of the weights; 0: no average.")
    ] = 0.0,
    swa: Annotated[
        float,
        option(
            panels.REGULARISATION,
            "SHARE",
            "Stochastic weight averaging: share of the epochs after which it starts; 0: never.",
        ),
    ] = 0.0,
    eps_warmup: Annotated[float, option(panels.THREAT, "EPOCHS", "Epochs in which eps rises from 0.")] = 0.0,
    augment: Annotated[
        str, option(panels.AUGMENTATION, "none|crop-flip", "crop-flip: random crops after padding, and mirror images.")
    ] = "none",
    mix: Annotated[
        str, option(panels.AUGMENTATION, "none|mixup|cutmix", "Mix each image with another one of its batch.")
    ] = "none",
    mix_alpha: Annotated[
        float, option(panels.AUGMENTATION, "ALPHA", "Draw the shares of --mix from Beta(ALPHA, ALPHA).")
    ] = 1.0,
    extra_data: Annotated[
        Path | None,
        option(panels.AUGMENTATION, "FILE.npz", "More training images: arrays image, uint8 [N,H,W,C], and label [N]."),
    ] = None,
    extra_fraction: Annotated[
        float, option(panels.AUGMENTATION, "SHARE", "Share of each batch that is extra data.")
    ] = 0.5,
    perturb_dtype: Annotated[
        str,
        option(
            panels.DEFENSE,
            "DTYPE",
            "float32 or bfloat16: precision of the attacks in training. bfloat16 is faster on GPUs and TPUs.",
        ),
    ] = "float32",
    validation: Annotated[
        int | None,
        option(
            panels.VALIDATION,
            "N",
            "Images to select the weights by: from a val split beside train and test, else held out from train.",
            min=1,
            show_default="1000; a tenth of a small data set",
        ),
    ] = None,
    patience: Annotated[
        int, option(panels.VALIDATION, "N", "Stop after N epochs without improvement; 0: never.", min=0)
    ] = 0,
    train_size: Annotated[int | None, option(panels.DATA, "N", "Train on the first N images only.", min=1)] = None,
    resize: Resize = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    classes: Classes = None,
    transparent: Transparent = None,
    skip_corrupt: SkipCorrupt = False,
    distributed: Annotated[
        bool,
        option(panels.RUN, None, "Train together with the other processes of this job.", "--distributed"),
    ] = False,
    json: Annotated[
        Path | None, option(panels.OUTPUT, TO, "Write the summary as JSON; - for stdout.", "--json")
    ] = None,
) -> None:
    """Train a network against an attack, or without one, and write it to a run directory."""
    runs = {number: out / f"seed-{number}" for number in _numbers(seeds)} if seeds is not None else {seed: out}
    if seeds is not None and seed:
        raise UsageError("give --seed or --seeds, not both")

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
        perturb_dtype=perturb_dtype,
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
        images: Any = {"validation": validation, "train_size": train_size, "extra_data": extra_data, "init": init}
        how: Any = {"reading": reading, "notify": say}
        training = Training.of(dataset, arch, defense, norm, eps, recipe, **images, **how)
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
        _summary(records[0], out, json)
    else:
        _summaries(records, out, json)


def _numbers(seeds: str) -> list[int]:
    try:
        numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise UsageError(f"--seeds {seeds!r} should be a list of numbers like 0,1,2") from None
    if len(set(numbers)) < len(numbers) or not all(0 <= number < 2**32 for number in numbers):
        raise UsageError(f"--seeds {seeds!r} must name each seed once, from 0 to 2**32 - 1")
    return numbers


def _summary(record: dict[str, Any], out: Path, json: Path | None) -> None:
    if _json({"model": str(out), **record}, json):
        return
    best = record["validation"]
    typer.echo(
        f"best epoch {best['epoch']}: clean {best['clean']:.2%}, {best['robust_against']} {best['robust']:.2%} "
        f"on {record['images']['validated_on']} validation images"
    )
    typer.echo(f"model written to {out}")


def _summaries(records: list[dict[str, Any]], out: Path, json: Path | None) -> None:
    from advbench.cli.output import tabulate, write
    from advbench.reports import seeds

    summary = seeds.summary(str(out), records)
    write(out / "seeds.json", (dumps(summary, indent=2) + "\n").encode())
    if _json(summary, json):
        return
    tabulate(seeds.of_seeds(summary))
    typer.echo(f"models written to {out}/seed-N, the summary to {out / 'seeds.json'}")


def _json(content: dict[str, Any], json: Path | None) -> bool:
    """Write the content where asked for; return True for stdout, which then gets nothing else."""
    from advbench.cli.output import emit

    target = str(json) if json else None
    emit(target, dumps(content, indent=2) + "\n")
    return target == "-"
