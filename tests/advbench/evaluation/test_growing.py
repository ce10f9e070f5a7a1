"""An evaluation that grows ends as one that had all its images at once."""

import numpy as np
import pytest

from advbench.core.errors import Inconclusive, Interrupted
from advbench.evaluation import evaluate, verify
from advbench.evaluation.evaluator import Evaluator
from advbench.evaluation.growing import IncrementalEvaluation
from advbench.evaluation.run import RunDirectory
from tests.advbench.evaluation.conftest import N, attacks, make_model, timeless

TEXTS = ("fgsm", "pgd:steps=4,rel_step_size=0.5", "pgd:steps=4,rel_step_size=0.5,loss=margin,targets=2")
ORDER = np.random.default_rng(3).permutation(N).astype(np.int32)


def evaluator(model, data, threat, **changes):
    given = {
        "model": model,
        "data": data,
        "indices": ORDER,
        "attacks": attacks(*TEXTS),
        "threat": threat,
        "seed": 1,
        "batch_size": 16,
        "each": False,
        "command": "",
        "flags": (),
        "budget": None,
        "doublings": 0,
        "progress": lambda _: None,
        "should_stop": lambda: None,
    }
    return Evaluator(**{**given, **changes})


@pytest.fixture(scope="module")
def at_once(model, data, threat):
    return evaluate(model, data, ORDER.tolist(), attacks(*TEXTS), threat, seed=1, batch_size=16, doublings=0)


def test_blocks_add_up_to_the_whole(model, data, threat, at_once):
    growing = IncrementalEvaluation(evaluator(model, data, threat))
    for block in (16, 32, 16):  # the last one is short
        growing.extend(block)
    assert growing.seen == N
    whole = at_once
    assert 0 < growing.good.sum() == whole.robust.correct < whole.clean.correct < N
    assert growing.good.tolist() == [row.robust for row in whole.rows]
    assert timeless(growing.result()[0]) == timeless(whole)


def test_what_was_seen_is_the_first_of_the_order(model, data, threat):
    growing = IncrementalEvaluation(evaluator(model, data, threat))
    assert (growing.seen, growing.good.tolist()) == (0, [])
    growing.extend(16)
    result, images = growing.result()
    assert [row.index for row in result.rows] == ORDER[:16].tolist()
    broken = [row.index for row in result.rows if row.broken_by not in (None, "clean")]
    assert images.index.tolist() == sorted(broken)


def test_what_does_not_add_up_is_summed(threat, data):
    """Findings that count images count all of them."""
    nan = make_model(lambda w, x: np.float32("nan") * x.reshape(len(x), -1)[:, :4])
    growing = IncrementalEvaluation(evaluator(nan, data, threat))
    growing.extend(16)
    growing.extend(16)
    (flag,) = [flag for flag in growing.result()[0].flags if flag.name == "nonfinite_outputs"]
    assert flag.evidence == {"images": 32}


def test_the_run_directory_verifies(model, data, threat, tmp_path):
    subject = evaluator(model, data, threat)
    with RunDirectory(tmp_path / "run", subject.fingerprint(), False) as directory:
        growing = IncrementalEvaluation(subject, directory)
        growing.extend(16)
        growing.extend(16)
        growing.finish()
    assert verify(tmp_path / "run", model=model, data=data).failures == []


def test_a_stopped_block_is_undone_and_goes_on_from_what_was_kept(model, data, threat, tmp_path, at_once):
    calls = iter(range(10**6))
    stopping = evaluator(model, data, threat, should_stop=lambda: 15 if next(calls) == 9 else None)
    with RunDirectory(tmp_path / "run", stopping.fingerprint(), False) as directory:
        growing = IncrementalEvaluation(stopping, directory)
        growing.extend(16)
        with pytest.raises(Interrupted):
            growing.extend(48)
        assert growing.seen == 16
    batches = []
    again = evaluator(model, data, threat, progress=batches.append)
    with RunDirectory(tmp_path / "run", again.fingerprint(), True) as directory:
        growing = IncrementalEvaluation(again, directory)
        growing.extend(16)
        growing.extend(48)
        assert timeless(growing.finish()) == timeless(at_once)
    assert sum(batch.resumed for batch in batches) == 9


def test_images_that_attacks_skipped_never_count(model, data, threat):
    growing = IncrementalEvaluation(evaluator(model, data, threat, budget=1e-9))
    with pytest.raises(Inconclusive, match="fgsm"):
        growing.extend(16)
    assert growing.seen == 0
