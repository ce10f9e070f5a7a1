"""What is attacked, from what was typed: a model, its test images, threats, and the attacks unless others are named."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from advbench.core.errors import UsageError
from advbench.core.spec import unknown_threat

if TYPE_CHECKING:
    from advbench.core.loaded import LoadedModel
    from advbench.core.preprocess import Preprocess
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset, Reading

IMAGES = 1000  # attacked unless told otherwise

CASCADE = ("fgsm", "apgd", "apgd:loss=dlr")
"""Attacks used unless others are named: cheap ones first, then those that are hard to hide from, and then, which breaks
most of what they leave, APGD towards classes."""
FEWEST = 4  # classes that the targeted DLR loss needs; with fewer the margin takes its place
TARGETS = 9  # of that, as published; all wrong classes where there are fewer
CASCADE_L2 = ("cw:rounds=5,steps=100",)


def subject(
    spec: str,
    data: str | None,
    n: int | None,
    indices: str | None = None,
    preprocess: Preprocess | None = None,
    weights: Path | None = None,
    *,
    most: int | None = None,
    logits: str | None = None,
    reading: Reading | None = None,
) -> tuple[LoadedModel, Dataset, list[int]]:
    """The model, its test images or those named, and which of them: the first `most` that are here unless told.

    Raises
    ------
    AdvbenchError
        When one of them is not there.
    """
    from advbench.cli import targets

    model, images = model_and_data(spec, data, preprocess, weights, logits, reading)
    usual = IMAGES if model.access == "gradient" else targets.IMAGES
    return model, images, _indices(images, n, indices, most or usual)


def model_and_data(
    spec: str,
    data: str | None,
    preprocess: Preprocess | None,
    weights: Path | None = None,
    logits: str | None = None,
    reading: Reading | None = None,
) -> tuple[LoadedModel, Dataset]:
    """The model, its input layout and its logits found out, and the test images that it or the user names."""
    from advbench.core.images import pixels
    from advbench.core.outputs import expecting
    from advbench.core.preprocess import AS_IS
    from advbench.models.load import load_model
    from advbench.preflight.layout import PROBE, find_layout

    model = load_model(spec, preprocess or AS_IS, weights)
    images = data_of(model, data, reading)
    model = expecting(model, len(images.classes), logits)
    model, scores = find_layout(model, pixels(images.images[:PROBE]), images.labels[:PROBE])
    if scores:
        tried = ", ".join(f"{layout} {score:.1%}" for layout, score in scores.items())
        typer.echo(f"advbench: {model.name}: input layout {model.preprocess.layout}, by accuracy: {tried}", err=True)
    return model, images


def data_of(model: LoadedModel, data: str | None, reading: Reading | None) -> Dataset:
    """The test images that the user names, else the model; read as declared, else as those it was trained on.

    Raises
    ------
    AdvbenchError
        When there are none.
    """
    from advbench.data import (
        DATASETS,
        Reading,
        again,
        load,
    )

    learned = model.record.get("data", {})
    if data is None:
        if model.dataset is None:
            raise UsageError(f"{model.name} does not say which data it is for: name it with --data")
        how = reading.record() if reading else learned.get("reading", {})
        found = again(model.dataset, learned.get("source", ""), "test", how, looking(model.dataset))
    else:
        if not reading and data not in DATASETS and learned:
            reading = Reading.of(learned.get("reading", {}))
        found = load(data, "test", reading=reading, tell=looking(data))
    for note in found.notes:
        typer.echo(f"advbench: note: {found.name} {found.split}: {note}", err=True)
    if learned.get("digest") and learned["digest"] == model.record.get("images", {}).get("digest") == found.digest:
        typer.echo(f"advbench: note: {model.name} was trained on these very images of {found.name}", err=True)
    return found


def looking(name: str) -> Callable[[int, int], None]:
    """Tell on stderr how many images were looked at, where there are many."""
    from advbench.cli.gating import PAUSE

    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PAUSE:
            last = time.monotonic()
            typer.echo(f"advbench: {name}: looked at {done:,} of {total:,} images; this is remembered", err=True)

    return tell


def cascade(model: LoadedModel, norm: str, classes: int) -> tuple[str, ...]:
    """The attacks used in a norm unless others are named, by what the model answers and how many classes there are."""
    from advbench.cli import targets

    if model.access != "gradient":
        return targets.cascade(model, norm)
    towards = f"apgd:loss={'dlr' if classes >= FEWEST else 'margin'},targets={min(TARGETS, max(classes - 1, 1))}"
    return (*CASCADE, towards, *(CASCADE_L2 if norm == "l2" else ()))


def threats_of(model: LoadedModel, dataset: str, norm: str | None, eps: str | None) -> list[ThreatSpec]:
    """Norm and eps: what was typed, else what the model was trained for, else the data set's.

    Raises
    ------
    UsageError
        For what is no threat, or an eps that is missing for this norm.
    """
    from advbench.attacks import NORMS
    from advbench.core.names import found
    from advbench.core.spec import ThreatSpec

    trained = _trained(model, dataset)
    if trained is None and (norm is None or (eps is None and norm != "any")):
        raise UsageError(unknown_threat(dataset))
    trained = trained or {"norm": "", "eps": ""}
    norm = found("norm", norm, NORMS) if norm else trained["norm"]
    if norm == "any":
        trained = {"norm": "any", "eps": "1"}
    if eps is None and norm != trained["norm"]:
        raise UsageError(f"--norm {norm} needs an --eps of its own ({model.name} is for {trained['norm']})")
    texts = eps.split(",") if eps is not None else [trained["eps"]]
    return [ThreatSpec.parse(norm, text) for text in texts]


def _trained(model: LoadedModel, dataset: str) -> dict[str, str] | None:
    from advbench.data import DATASETS

    if threat := model.record.get("threat"):
        found: dict[str, str] = threat
        return found
    info = DATASETS.get(dataset)
    return None if info is None else {"norm": info.default_norm, "eps": info.default_eps}


def _indices(data: Dataset, n: int | None, named: str | None, most: int) -> list[int]:
    if named is None:
        n = n or min(most, len(data))
        data.require(n)
        return list(range(n))
    if n is not None:
        raise UsageError("give -n or --indices, not both")
    ranges = _ranges(named)
    last = max(stop for _, stop in ranges)
    if last >= data.total:
        raise UsageError(f"{named} names image {last}; {data.name} {data.split} ends at {data.total - 1}")
    data.require(last + 1)
    indices = [i for first, stop in ranges for i in range(first, stop + 1)]
    twice = next((i for i, times in Counter(indices).items() if times > 1), None)
    if twice is not None:
        raise UsageError(f"{named} names image {twice} more than once")
    return indices


def _ranges(named: str) -> list[tuple[int, int]]:
    """First and last of every range, by white space or commas: of what was typed if it is one, else of a file."""
    try:
        text = named if re.fullmatch(r"[0-9][0-9,-]*", named) else Path(named).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read image numbers from {named}: {getattr(error, 'strerror', 'not text')}") from None
    words = re.split(r"[\s,]+", text.strip())
    found = [re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word) for word in words]
    ranges = [(int(each[1]), int(each[2] or each[1])) for each in found if each]
    wrong = next((word for word, each in zip(words, found, strict=True) if not each), None)
    if wrong is not None:
        raise UsageError(f"{named} should hold image numbers, from 0, or ranges like 0-99; it has {wrong[:40]!r}")
    if backwards := next(((first, last) for first, last in ranges if last < first), None):
        raise UsageError(f"{named} has the range {backwards[0]}-{backwards[1]}, which ends before it begins")
    return ranges
