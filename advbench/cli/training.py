"""What `advbench train` does once its options are read: one job, which each seed runs for itself."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from advbench.core.errors import AdvbenchError, Interrupted, UsageError
from advbench.core.names import DEFENSE_NAMES, found

if TYPE_CHECKING:
    from advbench.core.spec import ThreatSpec
    from advbench.data import Dataset, Reading
    from advbench.data.extra import Extra
    from advbench.defenses import Defense
    from advbench.defenses.metrics import Listener
    from advbench.defenses.recipe import Recipe


HELD = 1000  # images to choose the weights by; of small data of one's own, a tenth


class Diverging(AdvbenchError):
    """Training broke down; the last good checkpoint is kept."""

    exit_code = 3


@dataclass(frozen=True)
class Job:
    """A training that was checked before any compute."""

    data: Dataset
    size: int  # of its images, the first ones
    extra: Extra | None
    model: str
    spec: str  # of the defense, as typed
    defense: Defense
    threat: ThreatSpec
    recipe: Recipe

    @classmethod
    def of(
        cls,
        dataset: str,
        model: str,
        defense: str,
        norm: str | None,
        eps: str | None,
        train_size: int | None,
        extra_data: Path | None,
        recipe: Recipe,
        validation: int | None = None,
        reading: Reading | None = None,
    ) -> Job:
        """Read data and settings.

        Raises
        ------
        AdvbenchError
            For whatever can't work.
        """
        from advbench.api.subject import looking, unknown_threat
        from advbench.cli.output import say
        from advbench.core.spec import ThreatSpec, build
        from advbench.data import DATASETS, load
        from advbench.data.extra import read
        from advbench.data.opening import opened
        from advbench.defenses import DEFENSES
        from advbench.defenses.training import check
        from advbench.nn import MODELS

        info = DATASETS.get(dataset)
        if info is None:
            opened(dataset)  # told before anything else: there is no such data
            if norm is None or eps is None:
                raise UsageError(unknown_threat(dataset))
        threat = ThreatSpec.parse(norm or info.default_norm, eps or info.default_eps)  # type: ignore[union-attr]
        objective = build("defense", defense, DEFENSES, DEFENSE_NAMES)
        model = found("model", model, MODELS)  # told before data are read
        data = load(dataset, "train", reading=reading, tell=looking(dataset, say))
        for note in data.notes:
            typer.echo(f"advbench: note: {data.name} {data.split}: {note}", err=True)
        size = train_size or len(data.images)
        if size > len(data.images):
            raise UsageError(f"--train-size {size} is more than the {len(data.images)} training images of {dataset}")
        held = validation or (HELD if info else max(1, min(HELD, size // 10)))
        recipe = replace(recipe, validation=held)
        try:
            check(objective, threat.threat, size, recipe, extra=extra_data is not None)
        except ValueError as error:
            raise UsageError(str(error)) from None
        extra = read(extra_data, data.shape, len(data.classes)) if extra_data else None
        return cls(data, size, extra, model, defense, objective, threat, recipe)

    def run(
        self,
        seed: int,
        out: Path,
        resume: bool,
        should_stop: Callable[[], int | None],
        listeners: Sequence[Listener],
    ) -> dict[str, Any]:
        """Train with this seed, write the network to `out`, and return its record."""
        from advbench.core.devices import leads
        from advbench.core.lazy import choose
        from advbench.defenses.metrics import writers
        from advbench.defenses.training import fit
        from advbench.models.store import save
        from advbench.nn import create, native

        data, recipe = self.data, replace(self.recipe, seed=seed)
        form: Any = {"shape": data.shape, "classes": len(data.classes)}
        with _faults(out):
            out.mkdir(parents=True, exist_ok=True)
            fitted = fit(
                create(self.model, **form, seed=seed),
                self.defense,
                self.threat.threat,
                choose(data.images, slice(self.size)),
                data.labels[: self.size],
                recipe,
                extra=(self.extra.images, self.extra.labels) if self.extra else None,
                out=out,
                resume=resume,
                about={"model": self.model, "native convolutions": native.status()},
                should_stop=should_stop,
                listeners=[*writers(out), *listeners] if leads() else listeners,
            )
            record = {
                "command": shlex.join(["advbench", *sys.argv[1:]]),
                "defense": self.spec,
                "threat": {"norm": self.threat.norm, "eps": self.threat.eps.text},
                "recipe": asdict(recipe),
                "images": self._images(),
                **self._own(),
                "validation": {**fitted.best, "robust_against": self.defense.against},
                "seconds": round(fitted.seconds, 1),
                **_surroundings(),
            }
            if leads():
                save(out, fitted.module, architecture=self.model, **form, dataset=data.name, record=record)
        return record

    def _own(self) -> dict[str, Any]:
        """What one's own data were: where they lay, how they were read, what their classes are called."""
        if (reading := self.data.reading) is None:
            return {}
        about = {"source": self.data.source, "split": self.data.split, "reading": reading.record()}
        return {"data": {**about, "classes": list(self.data.classes), "digest": self.data.digest}}

    def _images(self) -> dict[str, Any]:
        held = self.recipe.validation
        found: dict[str, Any] = {
            "trained_on": self.size - held,
            "validated_on": held,
            "digest": self.data.digest,
        }
        if self.extra:
            found["extra"] = {"trained_on": len(self.extra.images), "digest": self.extra.digest}
        return found


@contextmanager
def _faults(out: Path) -> Iterator[None]:
    """Turn what ends training early into the error that the command line knows."""
    from advbench.bounds import Unsupported
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
