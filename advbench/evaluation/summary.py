"""Conversion of a tally to the result: reports of attacks, rows of images, and flags."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from advbench.core.flag import Flag
from advbench.core.images import in_words
from advbench.evaluation.queries import query_counts
from advbench.evaluation.result import (
    AttackReport,
    Convergence,
    DataInfo,
    ModelInfo,
    Provenance,
    Result,
    Row,
    Skipped,
    ThreatInfo,
)
from advbench.evaluation.tally import AdversarialImages, Tally

if TYPE_CHECKING:
    from advbench.evaluation.evaluator import Evaluator


def result(
    of: Evaluator,
    tally: Tally,
    runs: list[int],
    images: AdversarialImages,
    flags: list[Flag],
    provenance: Provenance,
    skipped: tuple[Skipped, ...],
) -> Result:
    """Build the result of an evaluation from the outcomes in its tally."""
    model, data = of.model, of.data
    return Result(
        model=ModelInfo(
            name=model.name,
            source=model.source or model.name,
            digest=model.digest,
            dataset=model.dataset,
            record=model.record,
            preprocess=model.preprocess.record(),
            queries=query_counts(model),
            execution=model.execution,
        ),
        data=DataInfo(
            name=data.name,
            split=data.split,
            source=data.source,
            digest=of.digest,
            n=len(of.indices),
            indices=in_words(of.indices),
            classes=tuple(data.classes),
            reading=data.reading.record() if data.reading else {},
        ),
        threat=ThreatInfo.of(of.threat),
        mode="each" if of.each else "cascade",
        clean=tally.rate(tally.correct),
        robust=tally.rate(tally.robust),
        attacks=reports(tally, runs),
        flags=(*of.flags, *flags),
        seed=of.seed,
        batch_size=of.batch_size,
        complete=not skipped,
        skipped=skipped,
        adversarial_digest=images.digest(),
        provenance=provenance,
        rows=rows(tally),
    )


def reports(tally: Tally, runs: list[int]) -> tuple[AttackReport, ...]:
    """Build a report per attack; `runs` holds the number of trials of each."""
    return tuple(
        AttackReport(
            spec=attack.text,
            name=attack.text.partition(":")[0],
            settings=asdict(attack.attack),
            runs=runs[a],
            alone=tally.rate(tally.correct & ~tally.fell[a]) if _met(tally, a) else None,
            after=tally.rate(tally.correct & ~tally.fell[: a + 1].any(0)),
            tried=int(tally.tried[a].sum()),
            broke=int((tally.fell[a] & tally.tried[a]).sum()),
            claimed=int(tally.claimed[a].sum()),
            undone=tally.undone(a),
            out_of_bounds=int(tally.out_of_bounds[a].sum()),
            seconds=float(tally.seconds[a]),
            compile_seconds=float(tally.compile_seconds[a]),
            forwards=int(tally.forwards[a].sum()),
            gradients=int(tally.gradients[a].sum()),
            convergence=_convergence(tally, a),
        )
        for a, attack in enumerate(tally.attacks)
    )


def rows(tally: Tally) -> tuple[Row, ...]:
    """Build a row per image, in the order of the indices."""
    return tuple(_row(tally, at) for at in range(len(tally.labels)))


def _row(tally: Tally, at: int) -> Row:
    by = [tally.attacks[a].text for a in np.flatnonzero(tally.fell[:, at])]
    if tally.clean.broken[at]:
        by = ["clean"]
    return Row(
        index=int(tally.indices[at]),
        label=int(tally.labels[at]),
        clean_prediction=_class(tally.clean.prediction[at]),
        robust=not by,
        broken_by=by[0] if by else None,
        also_broken_by=tuple(by[1:]),
        prediction=_class(tally.prediction[at]),
        distance=_number(tally.distance[at]),
        margin=_number(tally.margin[at]),
        forwards=int(tally.forwards[:, at].sum()),
        gradients=int(tally.gradients[:, at].sum()),
        finite=bool(tally.finite[at]),
    )


def flags(tally: Tally, limit: int, batch_size: int) -> list[Flag]:
    """Build the flags on logits, proposals and memory; `limit` images fitted in memory, of `batch_size` asked."""
    found = []
    if bad := int((~tally.finite).sum()):
        message = f"the model's outputs for {bad} images are NaN or infinite; these images count as broken"
        found.append(Flag(name="nonfinite_outputs", level="invalid", evidence={"images": bad}, message=message))
    if bad := int(tally.out_of_bounds.sum()):
        message = f"{bad} proposed images left the ball or the pixel range and were rejected: an attack is faulty"
        found.append(Flag(name="proposal_out_of_bounds", level="invalid", evidence={"proposals": bad}, message=message))
    if limit < batch_size:
        message = f"memory ran out: the evaluation continued in batches of {limit} images"
        found.append(
            Flag(name="batch_halved", level="note", evidence={"from": batch_size, "to": limit}, message=message)
        )
    if tally.carried:
        message = f"{tally.carried} images were already broken at a smaller eps and were not attacked again"
        found.append(Flag(name="carried_over", level="note", evidence={"images": tally.carried}, message=message))
    return found


def _convergence(tally: Tally, attack: int) -> Convergence | None:
    if not tally.after_runs[attack]:
        return None
    most = int(tally.forwards[attack].max(initial=0))
    passes = [2**i for i in range(most.bit_length()) if 2**i < most] + [most]
    fell = tally.fell[attack]
    standing = [int((tally.tried[attack] & ~(fell & (tally.fell_at[attack] <= p))).sum()) for p in passes]
    return Convergence(
        passes=tuple(passes),
        standing=tuple(standing),
        after_runs=tuple(tally.after_runs[attack]),
        doublings=tally.falls.doublings["steps"][attack],
        restart_doublings=tally.falls.doublings["restarts"][attack],
        late_steps=tally.late(attack, "steps"),
        late_restarts=tally.late(attack, "restarts"),
    )


def _met(tally: Tally, attack: int) -> bool:
    """Return whether the attack tried, or is known to break, every image classified correctly when clean."""
    return bool(((tally.tried[attack] & tally.started[attack]) | tally.fell[attack] | ~tally.correct).all())


def _class(prediction: int) -> int | None:
    return int(prediction) if prediction >= 0 else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
