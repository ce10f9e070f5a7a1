"""`advbench train`: train a network, robustly or not."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from advbench.errors import AdvbenchError, Interrupted, UsageError


class Diverging(AdvbenchError):
    """Training broke down; the last good checkpoint is kept."""

    exit_code = 3


def train(
    dataset: Annotated[str, typer.Argument(help="Data set to train on; see `advbench list datasets`.")],
    model: Annotated[str, typer.Option(help="Architecture; see `advbench list models`.")] = "small-cnn",
    defense: Annotated[str, typer.Option(help="With settings, if any: trades:beta=6,steps=10.")] = "pgd",
    norm: Annotated[str | None, typer.Option(help="linf, l2 or l1; by default the data set's.")] = None,
    eps: Annotated[str | None, typer.Option(help="Budget, like 8/255 or 0.3; by default the data set's.")] = None,
    epochs: Annotated[int, typer.Option(min=1)] = 20,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Fixes weights, order, augmentation and attacks.")
    ] = 0,
    out: Annotated[Path, typer.Option(help="Run directory: model, metrics and checkpoints.")] = Path("runs/train"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint in --out.")] = False,
    batch_size: Annotated[int, typer.Option(min=1)] = 128,
    optimizer: Annotated[str, typer.Option(help="adam, or sgd with Nesterov momentum.")] = "adam",
    lr: Annotated[float, typer.Option(help="Learning rate at its peak.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="constant, cosine, one-cycle or piecewise.")] = "cosine",
    warmup: Annotated[float, typer.Option(help="Epochs in which the learning rate rises.")] = 0.0,
    weight_decay: Annotated[float, typer.Option()] = 0.0,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient; 0: any.")] = 0.0,
    label_smoothing: Annotated[float, typer.Option()] = 0.0,
    ema: Annotated[float, typer.Option(help="Decay of the averaged weights; 0: no averaging.")] = 0.0,
    eps_warmup: Annotated[float, typer.Option(help="Epochs in which eps rises from 0.")] = 0.0,
    augment: Annotated[str, typer.Option(help="none or crop-flip.")] = "none",
    validation: Annotated[int, typer.Option(min=1, help="Training images held out to choose the weights by.")] = 1000,
    patience: Annotated[int, typer.Option(min=0, help="Epochs without progress before the end; 0: all.")] = 0,
    train_size: Annotated[
        int | None, typer.Option(min=1, help="Use only the first images of the training set.")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write the summary as JSON; - for stdout.")] = None,
) -> None:
    """Train a network and write it, with its metrics and checkpoints, to a run directory."""
    _vacant(out, resume)

    from advbench.cli.runtime import prepare

    prepare()  # before anything imports jax

    from advbench.cli.signals import listening
    from advbench.cli.train_progress import Bar
    from advbench.data import load
    from advbench.data.catalog import find
    from advbench.defenses import DEFENSES
    from advbench.defenses.metrics import writers
    from advbench.defenses.recipe import Recipe
    from advbench.defenses.training import check, fit
    from advbench.models import create, native
    from advbench.models.store import save
    from advbench.spec import ThreatSpec, build

    info = find(dataset)
    shape, classes = info.shape, len(info.classes)
    threat = ThreatSpec.parse(norm or info.default_norm, eps or info.default_eps)
    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimizer=optimizer,
        lr=lr,
        schedule=schedule,
        warmup=warmup,
        weight_decay=weight_decay,
        clip=clip,
        label_smoothing=label_smoothing,
        ema=ema,
        eps_warmup=eps_warmup,
        augment=augment,
        validation=validation,
        patience=patience,
        seed=seed,
    )
    objective = build("defense", defense, DEFENSES)
    network = create(model, shape=shape, classes=classes, seed=seed)
    data = load(dataset, "train")
    size = train_size or len(data.images)
    if size > len(data.images):
        raise UsageError(f"--train-size {size} is more than the {len(data.images)} training images of {dataset}")
    try:
        check(objective, threat.threat, size, recipe)
    except ValueError as error:
        raise UsageError(str(error)) from None
    with _faults(out):
        out.mkdir(parents=True, exist_ok=True)
        with listening() as stop, Bar() as bar:
            fitted = fit(
                network,
                objective,
                threat.threat,
                data.images[:size],
                data.labels[:size],
                recipe,
                out=out,
                resume=resume,
                about={"model": model, "native convolutions": native.status()},
                should_stop=stop,
                listeners=[*writers(out), bar],
            )
        record = {
            "command": shlex.join(["advbench", *sys.argv[1:]]),
            "defense": defense,
            "threat": {"norm": threat.norm, "eps": threat.eps.text},
            "recipe": asdict(recipe),
            "images": {"trained_on": size - validation, "validated_on": validation, "digest": data.digest},
            "validation": {**fitted.best, "robust_against": objective.against},
            "seconds": round(fitted.seconds, 1),
            **_surroundings(),
        }
        save(out, fitted.module, architecture=model, shape=shape, classes=classes, dataset=dataset, record=record)
    _tell(record, out, json)


def _vacant(out: Path, resume: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose another --out")
    if out.exists() and any(out.iterdir()) and not resume:
        raise UsageError(f"{out} is not empty: go on with --resume, or choose another --out")


@contextmanager
def _faults(out: Path) -> Iterator[None]:
    """Turn what ends training early into the error that the command line knows."""
    from advbench.defenses.bounds import Unsupported
    from advbench.defenses.checkpoints import CheckpointError
    from advbench.defenses.training import Diverged, Stopped

    try:
        yield
    except Stopped as error:
        raise Interrupted(f"{error}; go on with the same command and --resume", error.signal) from None
    except Diverged as error:
        raise Diverging(f"{error}; the last good checkpoint stands in {out}") from None
    except (CheckpointError, Unsupported) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise UsageError(f"can't write to {out}: {error.strerror or error}; make room, then --resume") from None


def _surroundings() -> dict[str, Any]:
    from advbench.evaluation.provenance import machine, versions

    hardware = {"cpus": os.cpu_count(), "processor": platform.machine(), **machine()}
    return {"hardware": hardware, "versions": versions()}


def _tell(record: Mapping[str, Any], out: Path, json: Path | None) -> None:
    text = dumps({"model": str(out), **record}, indent=2) + "\n"
    if str(json) == "-":
        sys.stdout.write(text)
        return
    if json:
        json.write_text(text)
    best = record["validation"]
    typer.echo(
        f"best epoch {best['epoch']}: clean {best['clean']:.2%}, {best['robust_against']} {best['robust']:.2%} "
        f"on {record['images']['validated_on']} validation images"
    )
    typer.echo(f"model written to {out}")
