"""Evaluations of targets: within the budget, on the grid, and incomplete where the target ends."""

import itertools
import json

import numpy as np
import pytest

import advbench
from advbench.attacks.spec import AttackSpec
from advbench.core.errors import (
    InvalidEvaluation,
    QueriesSpent,
    TargetUnavailable,
    UsageError,
)
from advbench.core.preprocess import Preprocess
from advbench.core.spec import ThreatSpec
from advbench.evaluation import (
    Result,
    curve,
    evaluate,
    verify,
)
from advbench.models.load import load_model
from advbench.remote import open_target, probed

from .conftest import CLASSES, N
from .serving import drop

SQUARE = "square:queries=40,rescale=true"


def run(server, data, *texts, norm="linf", eps="0.1", queries=None, n=N, **options):
    threat = ThreatSpec.parse(norm, eps)
    model = probed(load_model(server.url()), data.images, CLASSES)
    model.predict.target.budget = queries
    specs = [AttackSpec.parse(text, threat) for text in texts or (SQUARE,)]
    return evaluate(model, data, range(n), specs, threat, **({"seed": 0, "batch_size": 16} | options))


def flags(result):
    return {flag.name: flag for flag in result.flags}


def test_scores_are_attacked_and_every_query_is_counted(server, data):
    result = run(server, data)
    queries = result.model.queries
    assert result.clean.accuracy == 1
    assert 0 < result.robust.accuracy < 1
    assert result.exit_code == 0
    assert queries.asked == server.images
    assert queries.requests == len(server.seen)
    assert (queries.protocol, queries.answers, queries.levels, queries.budget) == ("v2", "logits", None, None)


def test_the_same_image_is_asked_once_by_attacks(server, data, images):
    target = probed(load_model(server.url()), data.images, CLASSES).predict.target
    before = server.images
    first = target.ask(np.concatenate([images[:9], images[:9]]))
    assert (server.images - before, target.remembered) == (9, 9)
    np.testing.assert_array_equal(target.ask(images[:9])[:9], first[9:])
    assert server.images - before == 9


def test_a_decision_target_falls_too(server, data):
    server.gives = "labels"
    result = run(server, data, "rays:queries=60", eps="0.2")
    assert 0 < result.robust.accuracy < 1
    assert result.model.queries.answers == "labels"


@pytest.mark.parametrize(("norm", "eps"), [("linf", "0.1"), ("l2", "0.5")])
def test_8_bit_targets_are_broken_by_8_bit_images_within_the_ball(server, data, norm, eps):
    server.datatype, server.shape = "UINT8", [-1, 5, 5, 1]
    result = run(server, data, norm=norm, eps=eps)
    broken = [row for row in result.rows if not row.robust]
    assert broken
    assert "proposal_out_of_bounds" not in flags(result)
    assert max(row.distance for row in broken) <= float(ThreatSpec.parse(norm, eps).eps) + 1e-6


def test_stored_8_bit_images_are_on_the_grid_and_verify(server, data, tmp_path):
    server.datatype, server.shape = "UINT8", [-1, 5, 5, 1]
    result = run(server, data, out=tmp_path / "run")
    from advbench.evaluation.run import load_images

    x_adv = load_images(tmp_path / "run").x_adv
    np.testing.assert_array_equal(x_adv, np.rint(x_adv * 255).astype(np.uint8) / np.float32(255))
    model = load_model(result.model.source, Preprocess.of(result.model.preprocess))
    assert verify(tmp_path / "run", model=model, data=data).failures == []


def test_a_budget_is_kept_and_leaves_bounds(server, data):
    whole = run(server, data, batch_size=8)
    asked = server.images
    result = run(server, data, batch_size=8, queries=asked // 2)
    assert server.images - asked <= asked // 2
    assert result.exit_code == 5
    assert not result.complete
    (skipped,) = result.skipped
    assert (skipped.reason, skipped.runs) == ("queries", 1)
    evidence = flags(result)["query_budget"].evidence
    assert evidence["low"] <= whole.robust.accuracy <= evidence["high"] == result.robust.accuracy
    assert evidence["low"] > 0


def test_what_fell_before_the_budget_ended_counts_even_in_the_batch_under_way(server, data):
    result = run(server, data, queries=24 + 2 * N + 16 * 12, batch_size=N)
    assert result.exit_code == 5
    assert sum(not row.robust for row in result.rows) > 0


def test_a_budget_too_small_for_the_clean_images_gives_nothing(server, data):
    with pytest.raises(QueriesSpent):
        run(server, data, queries=30)


def test_a_target_that_dies_leaves_an_incomplete_result(server, data, hurried):
    server.fault = lambda handler, count: count > 60 and drop(handler)
    result = run(server, data, batch_size=8)
    assert result.exit_code == 4
    assert result.skipped[0].reason == "target"
    assert 0 < flags(result)["target_failed"].evidence["high"] <= 1


def test_a_target_that_is_replaced_leaves_an_incomplete_result(server, data):
    def replaced(handler, count):
        if count == 60:
            server.bias = server.bias + np.array([3.0, 0, 0, 0])

    server.fault = replaced
    result = run(server, data, batch_size=8)
    assert result.exit_code == 4
    assert "changed its answers to the same images" in flags(result)["target_failed"].message


def test_a_target_that_begins_to_answer_in_another_form_ends(server, data, images):
    target = probed(load_model(server.url()), data.images, CLASSES).predict.target
    server.gives = "labels"
    for _ in range(2):
        with pytest.raises(TargetUnavailable, match="another length"):
            target.ask(images)
    asked = server.images
    with pytest.raises(TargetUnavailable):
        target.confirm(images)
    assert server.images == asked


def test_what_still_waits_ends_with_the_target(server, images, tmp_path, slept):
    """One request is refused while another is told to rest for a while."""
    path = tmp_path / "two.target.json"
    path.write_text(json.dumps({"url": server.url(), "images_per_request": N // 2, "concurrency": 2}))
    target = load_model(str(path)).predict.target
    told = itertools.cycle([(503, "30"), (400, "0")])

    def fault(handler, _):
        status, rest = next(told)
        handler.say({}, status, Retry_After=rest)
        return True

    server.fault = fault
    with pytest.raises(TargetUnavailable, match="400"):
        target.ask(images)
    target._threads.shutdown()
    assert sum(slept) < 25  # of the 30 seconds that the server asked for


@pytest.mark.parametrize("gives", ["logits", "labels"])
def test_a_target_that_answers_at_random_is_refused(server, data, gives):
    rng = np.random.default_rng(0)
    server.gives = gives
    plain = server.rows

    def shaken(pixels):
        server.bias = rng.normal(size=CLASSES) * 9
        return plain(pixels)

    server.rows = shaken
    with pytest.raises(InvalidEvaluation, match="answers of the model change"):
        run(server, data)


def test_a_target_that_looks_at_the_rest_of_the_request_is_refused(server, data):
    plain = server.rows
    server.rows = lambda pixels: plain(np.asarray(pixels) - np.mean(pixels, 0) * (len(pixels) > 1))
    with pytest.raises(InvalidEvaluation, match="alone"):
        run(server, data)


def test_noise_in_the_last_digits_is_no_change(server, data):
    rng = np.random.default_rng(0)
    plain = server.rows
    server.rows = lambda pixels: plain(pixels) * (1 + rng.normal(size=(len(pixels), 1)) * 1e-7)
    assert run(server, data).exit_code == 0


def test_fewer_scores_than_classes_are_refused(server, data):
    server.weights, server.bias = server.weights[:, :3], 0.0
    with pytest.raises(UsageError, match="3 scores"):
        run(server, data)


def test_a_run_cut_short_is_gone_on_with_and_ends_as_one_that_was_not(server, data, tmp_path):
    whole = run(server, data, batch_size=8)
    cut = run(server, data, batch_size=8, queries=server.images // 2, out=tmp_path / "run")
    assert cut.exit_code == 5
    assert Result.load(tmp_path / "run").skipped[0].reason == "queries"
    resumed = run(server, data, batch_size=8, out=tmp_path / "run", resume=True)
    assert resumed.exit_code == 0
    assert resumed.rows == whole.rows
    assert Result.load(tmp_path / "run") == resumed


def test_a_curve_stops_where_the_target_does(server, data):
    threats = [ThreatSpec.parse("linf", eps) for eps in ("0.05", "0.1", "0.2")]
    model = probed(load_model(server.url()), data.images, CLASSES)
    model.predict.target.budget = 24 + 3 * N
    specs = [AttackSpec.parse(SQUARE, threats[0])]
    results = curve(model, data, range(N), specs, threats, seed=0, batch_size=16)
    assert 1 <= len(results) < 3
    assert [result.complete for result in results] == [True] * (len(results) - 1) + [False]


def test_a_query_budget_within_a_time_budget(server, data):
    result = run(server, data, SQUARE, "uniform-noise", queries=200, batch_size=16, budget=600.0)
    assert result.exit_code == 5
    assert {skipped.reason for skipped in result.skipped} == {"queries"}
    assert server.images <= 200


# The grid.


def test_a_gate_decides_about_a_target_within_its_queries(server, data):
    rules = {"norm": "linf", "eps": "0.1", "attacks": SQUARE, "min_robust": "2%", "batch_size": 16}
    decided = advbench.gate(server.url(), data, **rules)
    assert decided.verdict == "pass" and decided.results[0].model.queries.asked == server.images
    ended = advbench.gate(server.url(), data, **rules, query_limit=100)
    assert ended.verdict == "inconclusive" and ended.outcomes[0].verdict == "inconclusive"


def test_an_unreachable_target_is_no_bug(data, hurried):
    with pytest.raises(TargetUnavailable):
        open_target("https://127.0.0.1:9/v2/models/x")
