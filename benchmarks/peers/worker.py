"""The side of a contestant: jobs come in as lines of JSON on stdin, one reply each goes out on stdout.

Every contestant runs in a process of its own, kept alive between jobs, so that repetitions of several contestants can
be interleaved without paying for imports and compilation each time. Only the work itself is timed.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Job(NamedTuple):
    """One timed piece of work; every contestant gets the same."""

    row: str  # which line of the table
    tuned: bool  # a peer's best settings instead of its defaults
    x: np.ndarray  # images [N, H, W, C] float32 in [0, 1]
    y: np.ndarray  # labels [N] int64
    settings: dict[str, Any]  # batch, and of norm, eps, step, steps, c, lr and others what the row needs
    weights: dict[str, np.ndarray]


Row = Callable[[Job], Callable[[], np.ndarray | float | None]]
"""Prepares a job (untimed) and returns the work (timed).

The work may return adversarial images [N, H, W, C], or the seconds that count where it does more than the row asks for.
"""


def serve(rows: dict[str, Row], logits: Callable[[Job], np.ndarray], versions: dict[str, str]) -> None:
    """Answer jobs until stdin closes. Whatever a library prints goes to stderr, not among the replies."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line), rows, logits, versions)
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=replies, flush=True)


def _answer(
    asked: dict[str, Any], rows: dict[str, Row], logits: Callable[[Job], np.ndarray], versions: dict[str, str]
) -> dict[str, Any]:
    if asked["row"] == "hello":
        return {"versions": versions, "rows": sorted(rows)}
    weights, images = (dict(np.load(asked[file], allow_pickle=False)) for file in ("weights", "images"))
    n = asked["n"]
    job = Job(asked["row"], asked["tuned"], images["x"][:n], images["y"][:n], asked["settings"], weights)
    if job.row == "logits":
        np.save(asked["save"], logits(job))
        return {}
    if asked["warm"]:
        rows[job.row](_shortened(job))()
    work = rows[job.row](job)
    begun = time.perf_counter()
    result = work()
    seconds = time.perf_counter() - begun
    if isinstance(result, np.ndarray):
        np.save(asked["save"], result)
    return {"seconds": result if isinstance(result, float) else seconds}


def _shortened(job: Job) -> Job:
    """Make the same job with fewer steps, or batches, to compile and to fill caches."""
    if job.row.endswith("-at"):  # the number of images shapes a compiled epoch
        return job
    few = 2 * job.settings["batch"]
    less = {name: 1 for name in ("steps", "queries") if name in job.settings}
    return job._replace(x=job.x[:few], y=job.y[:few], settings=job.settings | less)
