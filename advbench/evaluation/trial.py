"""One trial of an attack on one batch: propose images, then judge them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import jax
import numpy as np
from jax import Array

from advbench.attacks import Model, Randomised
from advbench.attacks.base import Starts
from advbench.attacks.losses import misclassified
from advbench.attacks.spec import AttackSpec
from advbench.core.batches import Batches, padded
from advbench.core.threefry import key_data
from advbench.core.translated import is_translated, originals
from advbench.evaluation.convergence import doubled
from advbench.evaluation.grid import Grid, OnGrid, on_steps, within_steps
from advbench.evaluation.judge import Judge, Verdict
from advbench.evaluation.provenance import compile_seconds
from advbench.evaluation.starts import Pool
from advbench.evaluation.tally import BatchOutcome
from advbench.evaluation.task import Task
from advbench.wrappers.facing import attack_view

if TYPE_CHECKING:
    from advbench.evaluation.evaluator import Evaluator

SPENT: Final = ("forwards", "gradients")


def trial(
    of: Evaluator, task: Task, x: np.ndarray, y: np.ndarray, judge: Judge, batches: Batches, pool: Pool
) -> BatchOutcome:
    """Let an attack propose images for one batch, and judge them.

    Parameters
    ----------
    of : Evaluator
        The evaluation: its model, threat, attacks and seed.
    task : Task
        The attack, its trial, and the images.
    x, y : np.ndarray
        Clean images float32 `[m, H, W, C]` and labels int32 `[m]`.
    judge : Judge
        Judges the proposed images.
    batches : Batches
        Runs the attack in batches.
    pool : Pool
        Images of other classes to start from.

    Returns
    -------
    BatchOutcome
        The judged batch.
    """
    clock, compiled = time.perf_counter(), compile_seconds()
    spec = doubled(of.attacks[task.attack], task.phase.steps_doubled, task.phase.restarts_doubled)
    levels = of.model.levels
    searched = within_steps(of.threat, levels).threat
    target, restart = divmod(task.run, spec.attack.restarts)
    indices = of.indices[task.positions]
    keys = key_data(of.seed, crc32(kind(spec).encode()), target, restart, last=indices)

    def propose(predict: Model, x: np.ndarray, y: np.ndarray, keys: Any, *starts: np.ndarray) -> Any:
        images, labels = jax.device_put(x), jax.device_put(y)
        model = attack_view(predict, images, labels)
        if levels is not None:
            model = OnGrid(model, Grid.of(of.threat, images, levels))
        loss_reference = spec.attack.loss_reference(model, images, labels, task.run)
        loss_reference = Starts(loss_reference, *map(jax.device_put, starts)) if starts else loss_reference
        found = spec.attack(model, searched, images, loss_reference, jax.random.wrap_key_data(keys))
        claims = _fools(model, found.x, labels) if found.claims is None else found.claims
        reached = found.forwards if found.reached is None else found.reached
        shown = on_steps(model.grid, found.x) if isinstance(model, OnGrid) else found.x
        return found._replace(x=shown, claims=claims, reached=reached)

    def proposed(predict: Model, *given: np.ndarray) -> Any:
        return batches.map(partial(propose, predict), *given, size=padded(len(given[0]), judge.size))

    starts = pool.nearest(x, y, spec.attack.starts) if spec.attack.starts else ()
    given, predict = (x, y, keys, *starts), of.model.predict
    proposal = proposed(predict, *given)
    verdict = judge(x, y, proposal.x)
    if is_translated(predict):
        itself = partial(proposed, originals(predict))
        proposal, verdict = _with_itself(itself, given, proposal, verdict, judge)
    draws = of.model.predict.draws if isinstance(of.model.predict, Randomised) else 1
    return BatchOutcome(
        positions=task.positions,
        verdict=verdict,
        x_adv=proposal.x[verdict.broken],
        forwards=proposal.forwards * draws,
        gradients=proposal.gradients * draws,
        tried=np.ones(len(y), bool) if proposal.tried is None else proposal.tried,
        claims=proposal.claims,
        reached=proposal.reached * draws,
        seconds=time.perf_counter() - clock,
        compile_seconds=compile_seconds() - compiled,
        limit=batches.limit,
    )


def _with_itself(
    attack: Callable[..., Any], given: Sequence[np.ndarray], proposal: Any, verdict: Verdict, judge: Judge
) -> tuple[Any, Verdict]:
    """Attack the network itself where its translation is fooled and it is not: near the boundary rounding decides.

    Parameters
    ----------
    attack : callable
        The same attack on the network itself.
    given : sequence of np.ndarray
        Clean images, labels and whatever else the attack takes, `[m, ...]`.
    proposal : Proposal
        Images proposed by the attack on the translation; NumPy arrays `[m, ...]`, as all proposals here.
    verdict : Verdict
        The judge's findings on them.
    judge : Judge
        Judges the new images.

    Returns
    -------
    tuple of Proposal and Verdict
        With the new images in the place of those; what both attacks spent is added.
    """
    edge = proposal.claims & verdict.allowed & ~verdict.broken
    if not edge.any():
        return proposal, verdict
    x, y, *_ = few = [array[edge] for array in given]
    again = attack(*few)
    again = again._replace(**{name: getattr(proposal, name)[edge] + getattr(again, name) for name in SPENT})
    anew = judge(x, y, again.x)
    return (
        proposal._make(_put(whole, edge, part) for whole, part in zip(proposal, again, strict=True)),
        Verdict._make(_put(whole, edge, part) for whole, part in zip(verdict, anew, strict=True)),
    )


def _put(whole: np.ndarray | None, where: np.ndarray, part: np.ndarray | None) -> np.ndarray | None:
    """Rows put in the place of others; None stays so."""
    if whole is None or part is None:
        return whole
    whole = whole.copy()
    whole[where] = part
    return whole


def kind(spec: AttackSpec) -> str:
    """Return the text that seeds an attack's random numbers: its name and settings, without steps and restarts.

    So the random starts of 5 restarts are among those of 10, and more restarts never break fewer images.
    """
    amount = ("restarts", "steps", "targets")
    settings = {name: value for name, value in asdict(spec.attack).items() if name not in amount}
    return f"{spec.text.partition(':')[0]}:" + ",".join(f"{k}={v!r}" for k, v in sorted(settings.items()))


@jax.jit
def _fools(model: Model, x: Array, y: Array) -> Array:
    return misclassified(model(x), y)
