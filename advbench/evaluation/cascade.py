"""Run attacks on a model, each on the images still standing, and report the worst case image by image."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

import jax
import numpy as np
from jax import Array

from advbench.errors import Interrupted, UsageError
from advbench.evaluation.batches import Batches
from advbench.evaluation.judge import Judge
from advbench.evaluation.provenance import compile_seconds, machine, versions
from advbench.evaluation.result import DataInfo, Flag, ModelInfo, Provenance, Result, ThreatInfo
from advbench.evaluation.run import RunDirectory
from advbench.evaluation.tally import Images, Shard, Tally
from advbench.spec import AttackSpec, ThreatSpec

if TYPE_CHECKING:
    from advbench.data import Dataset
    from advbench.models.load import LoadedModel


class Progress(NamedTuple):
    """Where an evaluation is; told after every batch."""

    attack: str
    run: int  # of `runs`, from 0
    runs: int
    done: int  # images of this run, of `total`
    total: int
    robust: int  # images of all `n` that stand so far
    n: int
    resumed: bool  # this batch came from the run directory


class Task(NamedTuple):
    """One batch of one run of one attack."""

    attack: int
    run: int
    positions: np.ndarray  # int32, in the list of images
    done: int  # images of this run, this batch included
    total: int


def _nobody() -> int | None:
    return None


def evaluate(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threat: ThreatSpec,
    *,
    seed: int,
    batch_size: int,
    out: Path | None = None,
    resume: bool = False,
    each: bool = False,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], int | None] = _nobody,
    command: str = "",
    flags: Sequence[Flag] = (),
) -> Result:
    """Attack images and report how many withstand everything.

    Parameters
    ----------
    model : LoadedModel
        Its `predict` maps images `[B, H, W, C]` float32 in [0, 1] to logits `[B, K]`.
    data : Dataset
        uint8 images and int32 labels.
    indices : sequence of int
        Which images of `data`, each once.
    attacks : sequence of AttackSpec
        In this order, cheap ones first: each sees only the images that are still standing.
    threat : ThreatSpec
        The norm and eps.
    seed : int
        With the attack's name, the run and the data set's index it makes the key of each image, so that no result
        depends on batch size, order or resume. From 0 to 2**32 - 1.
    batch_size : int
        Images in a batch; halved where memory runs out.
    out : Path, optional
        A run directory: the result, the adversarial images, and a journal from which `resume` goes on.
    resume : bool
        Go on with the run in `out` (or begin it).
    each : bool
        Let every attack try every image that is right when clean, so that its own strength is known.
    progress : callable, optional
        Told after every batch.
    should_stop : callable
        Asked before every batch; a signal's number ends the evaluation with what is done kept in `out`.
    command : str
        What was typed, for the record.
    flags : sequence of Flag
        What a preflight found; they become part of the result.

    Returns
    -------
    Result
        With one row per image.

    Raises
    ------
    UsageError
        For images, labels, settings or a run directory that do not fit.
    DataUnavailable
        Memory or disk are too small.
    Interrupted
        `should_stop` said so.
    """
    evaluation = _Evaluation(model, data, indices, attacks, threat, seed, batch_size, each, command, tuple(flags))
    return evaluation.run(out, resume, progress or (lambda _: None), should_stop)[0]


def curve(
    model: LoadedModel,
    data: Dataset,
    indices: Sequence[int],
    attacks: Sequence[AttackSpec],
    threats: Sequence[ThreatSpec],
    *,
    seed: int,
    batch_size: int,
    out: Path | None = None,
    resume: bool = False,
    each: bool = False,
    progress: Callable[[Progress], None] | None = None,
    should_stop: Callable[[], int | None] = _nobody,
    command: str = "",
    flags: Sequence[Flag] = (),
) -> list[Result]:
    """Evaluate at several eps of one norm; nothing recompiles between them.

    An image broken at a smaller eps lies in every larger ball: it is carried over and not attacked again, so
    robust accuracy never rises with eps. Parameters are those of `evaluate`; `threats` share their norm, and each
    has a run directory of its own in `out`.

    Returns
    -------
    list of Result
        One per eps, from the smallest to the largest.

    Raises
    ------
    UsageError
        When the norms differ or an eps repeats, and as `evaluate`.
    """
    ordered = sorted(threats, key=lambda threat: threat.eps.value)
    if len({threat.norm for threat in ordered}) != 1 or len({threat.eps.value for threat in ordered}) != len(ordered):
        raise UsageError("a curve needs one norm, and every eps once")
    results: list[Result] = []
    before: tuple[Result, Images] | None = None
    for threat in ordered:
        evaluation = _Evaluation(model, data, indices, attacks, threat, seed, batch_size, each, command, tuple(flags))
        folder = out / f"eps-{threat.eps.text.replace('/', '_')}" if out else None
        before = evaluation.run(folder, resume, progress or (lambda _: None), should_stop, before)
        results.append(before[0])
    return results


class _Evaluation:
    """What stays fixed during one evaluation."""

    def __init__(
        self,
        model: LoadedModel,
        data: Dataset,
        indices: Sequence[int],
        attacks: Sequence[AttackSpec],
        threat: ThreatSpec,
        seed: int,
        batch_size: int,
        each: bool,
        command: str,
        flags: tuple[Flag, ...],
    ):
        self.model, self.data, self.attacks, self.threat = model, data, list(attacks), threat
        self.seed, self.each, self.command, self.flags = seed, each, command, flags
        self.indices = _checked(indices, len(data.images))
        if batch_size < 1 or not 0 <= seed < 2**32:
            raise UsageError("batch size must be at least 1, and the seed between 0 and 2**32 - 1")
        if not attacks or len({attack.text for attack in attacks}) < len(attacks):
            raise UsageError("give at least one attack, and each only once")
        self.batch_size = min(batch_size, len(self.indices))
        self.labels = data.labels[self.indices]
        self.batches = Batches(self.batch_size)
        self.judge = Judge(model.predict, threat, self.batches, self.batch_size)

    def run(
        self,
        out: Path | None,
        resume: bool,
        progress: Callable[[Progress], None],
        should_stop: Callable[[], int | None],
        before: tuple[Result, Images] | None = None,
    ) -> tuple[Result, Images]:
        """Do what is not done yet, and store it all."""
        if out is None:
            return self._finish(self._attack(None, progress, should_stop, before))
        with RunDirectory(out, self.fingerprint(before), resume) as directory:
            if (finished := directory.finished()) is not None:
                return finished
            result, images = self._finish(self._attack(directory, progress, should_stop, before))
            directory.finish(result, images)
            return result, images

    def fingerprint(self, before: tuple[Result, Images] | None) -> dict[str, Any]:
        """All that the result depends on; a run resumes only where nothing of it changed."""
        return {
            "model": self.model.digest,
            "data": self.data.digest,
            "indices": _digest(self.indices),
            "norm": self.threat.norm,
            "eps": str(self.threat.eps.value),
            "attacks": [attack.text for attack in self.attacks],
            "mode": self.mode,
            "seed": self.seed,
            "batch size": self.batch_size,
            "images broken at a smaller eps": before[1].digest() if before else "",
            "versions": versions(),
        }

    @property
    def mode(self) -> Any:
        return "each" if self.each else "cascade"

    def images(self, positions: np.ndarray) -> np.ndarray:
        """Clean images, float32 `[m, H, W, C]` in [0, 1]."""
        return self.data.images[self.indices[positions]].astype(np.float32) / np.float32(255)

    def _attack(
        self,
        directory: RunDirectory | None,
        progress: Callable[[Progress], None],
        should_stop: Callable[[], int | None],
        before: tuple[Result, Images] | None,
    ) -> Tally:
        self.started, self.clock = datetime.now(UTC), time.perf_counter()
        x = self.images(np.arange(len(self.indices)))
        tally = Tally(self.attacks, self.indices, self.labels, self.judge(x, self.labels, x))
        self.runs = [spec.attack.runs(self.judge.logits(x[:1]).shape[1]) for spec in self.attacks]
        if before:
            tally.carry(before[0].rows, before[1])
        for number, task in enumerate(self._tasks(tally)):
            shard = directory.replay(number, task.positions) if directory else None
            resumed = shard is not None
            if shard is None:
                if (signal := should_stop()) is not None:
                    raise Interrupted(_stopped(directory), signal)
                shard = self._try(task)
                if directory:
                    directory.keep(number, shard)
            self.batches.limit = min(self.batches.limit, shard.limit)
            tally.add(task.attack, shard)
            spec, runs = self.attacks[task.attack].text, self.runs[task.attack]
            robust, n = int(tally.robust.sum()), len(self.indices)
            progress(Progress(spec, task.run, runs, task.done, task.total, robust, n, resumed))
        return tally

    def _tasks(self, tally: Tally) -> Iterator[Task]:
        """What to do next, given what the tally says by then."""
        for attack, runs in enumerate(self.runs):
            for run in range(runs):
                standing = tally.standing(attack, self.each).astype(np.int32)
                for at in range(0, len(standing), self.batch_size):
                    batch = standing[at : at + self.batch_size]
                    yield Task(attack, run, batch, at + len(batch), len(standing))

    def _try(self, task: Task) -> Shard:
        """Let an attack propose, and judge what it proposes."""
        clock, compiled = time.perf_counter(), compile_seconds()
        spec, at = self.attacks[task.attack], task.positions
        x, y = self.images(at), self.labels[at]
        target, restart = divmod(task.run, spec.attack.restarts)
        stream = np.uint32([self.seed, crc32(kind(spec).encode()), target, restart])

        def propose(x: np.ndarray, y: np.ndarray, indices: np.ndarray) -> Any:
            aim = spec.attack.aim(self.model.predict, jax.numpy.asarray(x), jax.numpy.asarray(y), task.run)
            return spec.attack(
                self.model.predict, self.threat.threat, jax.numpy.asarray(x), aim, _keys(stream, indices)
            )

        few = max(1, self.batch_size // 4)  # a second fixed shape, for when few images are left
        proposal = self.batches.map(propose, x, y, self.indices[at], size=few if len(at) <= few else self.batch_size)
        verdict = self.judge(x, y, proposal.x)
        return Shard(
            positions=at,
            verdict=verdict,
            x_adv=proposal.x[verdict.broken],
            forwards=proposal.forwards,
            gradients=proposal.gradients,
            seconds=time.perf_counter() - clock,
            compile_seconds=compile_seconds() - compiled,
            limit=self.batches.limit,
        )

    def _finish(self, tally: Tally) -> tuple[Result, Images]:
        images = tally.adversarial(self.data.images.shape[1:])
        settings = [asdict(spec.attack) for spec in self.attacks]
        result = Result(
            model=ModelInfo(
                name=self.model.name,
                source=getattr(self.model, "source", self.model.name),
                digest=self.model.digest,
                dataset=self.model.dataset,
                record=self.model.record,
            ),
            data=DataInfo(
                name=self.data.name,
                split=self.data.split,
                source=self.data.source,
                digest=self.data.digest,
                n=len(self.indices),
                indices=_in_words(self.indices),
                classes=tuple(self.data.classes),
            ),
            threat=ThreatInfo.of(self.threat),
            mode=self.mode,
            clean=tally.rate(tally.correct),
            robust=tally.rate(tally.robust),
            attacks=tally.reports(settings, self.runs),
            flags=(*self.flags, *tally.flags(self.batches.limit, self.batch_size)),
            seed=self.seed,
            batch_size=self.batch_size,
            complete=True,
            adversarial_digest=images.digest(),
            provenance=Provenance(
                versions=versions(),
                **machine(),
                command=self.command,
                started=self.started.isoformat(timespec="seconds"),
                seconds=time.perf_counter() - self.clock,
            ),
            rows=tally.rows(),
        )
        return result, images


def kind(spec: AttackSpec) -> str:
    """What an attack's random numbers depend on: its name and settings, but not how much of it is done.

    So the starts of 5 restarts are among those of 10, and more restarts never find less.
    """
    settings = {k: v for k, v in asdict(spec.attack).items() if k not in ("restarts", "steps", "targets")}
    return f"{spec.text.partition(':')[0]}:" + ",".join(f"{k}={v!r}" for k, v in sorted(settings.items()))


@jax.jit
def _keys(stream: Array, indices: Array) -> Array:
    key = jax.random.key(stream[0])
    for part in stream[1:]:
        key = jax.random.fold_in(key, part)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, indices)


def _checked(indices: Sequence[int], available: int) -> np.ndarray:
    array = np.asarray(indices)
    if array.ndim != 1 or not array.size or array.dtype.kind not in "iu":
        raise UsageError("give at least one image, by whole numbers")
    if array.min() < 0 or array.max() >= available:
        raise UsageError(
            f"image {array.max() if array.min() >= 0 else array.min()} is not among the {available} there are"
        )
    if len(np.unique(array)) < len(array):
        raise UsageError("an image is named twice")
    return array.astype(np.int32)


def _digest(indices: np.ndarray) -> str:
    return sha256(indices.astype("<i4").tobytes()).hexdigest()


def _in_words(indices: np.ndarray) -> str:
    first, last = int(indices[0]), int(indices[-1])
    if np.array_equal(indices, np.arange(first, last + 1)):
        return f"{first}..{last}"
    return f"{len(indices)} chosen (sha256 {_digest(indices)[:16]})"


def _stopped(directory: RunDirectory | None) -> str:
    if directory is None:
        return "stopped; nothing was kept, since no run directory was given (--out)"
    return f"stopped; {directory.path} keeps all finished batches: run again with --resume"
