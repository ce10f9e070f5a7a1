"""Targets behind a URL on the command line: exit codes, one line for what is wrong, and nothing secret anywhere."""

import json
from pathlib import Path

import numpy as np
import pytest

from advbench.data import load
from tests.advbench.remote import serving

from .test_attack import in_one_line

TOKEN = "s3cr3t-t0ken"


@pytest.fixture
def server(monkeypatch):
    """Classifies by the nearest class mean of the first 1,000 images."""
    data = load("mnist", "test")
    x = data.images[:1000].reshape(1000, -1) / 255
    means = np.stack([x[data.labels[:1000] == k].mean(0) for k in range(10)], 1)
    monkeypatch.setenv("ADVBENCH_TOKEN", TOKEN)
    served = serving.Served(means, -0.5 * (means**2).sum(0))
    yield served
    served.shutdown()
    served.server_close()


@pytest.fixture
def attack(run, server):
    def invoke(*words, url=None, data="mnist"):
        return run("attack", url or server.url(), "--data", data, "--eps", "0.1", "-n", "8", *words)

    return invoke


def test_a_target_gives_a_table_with_its_queries(attack, server):
    got = attack("--attack", "square:queries=4", "--json", "r.json")
    assert got.exit_code == 0
    result = json.loads(Path("r.json").read_text())
    queries = result["model"]["queries"]
    assert queries["asked"] == server.images
    assert f"{server.images:,} queries" in got.stdout
    assert "queries for each of 8 images: square:queries=4 4; no query limit" in got.stderr
    assert server.seen[-1][1]["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in got.output + Path("r.json").read_text()


def test_a_spent_budget_ends_with_5_and_keeps_the_table(attack, server):
    got = attack("--attack", "square:queries=40", "--query-limit", "80", "--batch-size", "4")
    in_one_line(got, 5, "query limit", "square:queries=40")
    assert "lies between" in " ".join(got.stdout.split())
    assert server.images <= 80


def test_a_target_that_dies_ends_with_4_and_keeps_what_was_found(attack, server):
    server.fault = lambda handler, count: count > 20 and (handler.say({"error": TOKEN}, 500), True)[1]
    got = attack("--attack", "square:queries=40", "--batch-size", "4", "--json", "r.json")
    in_one_line(got, 4, "answered 500", "***")
    result = json.loads(Path("r.json").read_text())
    assert not result["complete"]
    assert TOKEN not in got.output + Path("r.json").read_text()


@pytest.mark.parametrize("attack_name", ["pgd", "fgsm", "autoattack"])
def test_attacks_with_gradients_are_refused_before_an_image_is_sent(attack, server, attack_name):
    got = attack("--attack", attack_name)
    in_one_line(got, 2, "gradient", "square")
    assert server.images == 0


def test_attacks_by_scores_on_labels_are_refused(attack, server):
    server.gives = "labels"
    in_one_line(attack("--attack", "square"), 2, "score", "rays")


def test_a_wrong_token_is_named_and_not_told(attack, server):
    server.fault = lambda handler, count: (handler.say({"error": f"no {handler.headers['Authorization']}"}, 401), True)[
        1
    ]
    got = attack()
    in_one_line(got, 4, "401", "ADVBENCH_TOKEN")
    assert TOKEN not in got.output


@pytest.mark.parametrize(
    ("url", "code", "says"),
    [
        ("http://user:pa55word@127.0.0.1/v2/models/x", 2, "ADVBENCH_TOKEN"),
        ("http://127.0.0.1/v2/models/x?key=pa55word", 2, "ADVBENCH_TOKEN"),
        ("http://127.0.0.1/predict", 2, "can't tell the protocol of"),
        ("http:predict", 2, "URL"),
        ("none.target.json", 2, "can't read none.target.json"),
    ],
)
def test_a_wrong_url_is_one_line(attack, url, code, says):
    got = attack(url=url)
    in_one_line(got, code, says)
    assert "pa55word" not in got.output


def test_other_images_are_refused(attack, server):
    server.shape = [-1, 28, 28, 1]
    in_one_line(attack(data="cifar10"), 2, "[28, 28, 1]", "[32, 32, 3]")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--preflight", "full"), ("--preflight full looks at gradients",)),
        (("--weights", "w.pt"), ("--weights is for file.py:factory", "a target has its own")),
        (("--input-defense", "jpeg"), ("--input-defense needs a model that runs here", "queries only")),
        (("--eot-samples", "5"), ("--eot-samples is for randomised models",)),
    ],
)
def test_what_a_target_does_not_have_is_refused(attack, words, says):
    in_one_line(attack(*words), 2, *says)


def test_a_query_budget_is_for_targets(run):
    in_one_line(run("attack", "mine.py:net", "--data", "mnist", "--query-limit", "9"), 2, "--query-limit")


def test_the_doctor_asks_little_of_a_target(run, server, monkeypatch):
    monkeypatch.setattr("advbench.preflight.selftest", lambda seed: [])
    got = run("doctor", server.url(), "--data", "mnist", "-n", "16")
    assert got.exit_code == 0
    assert "scores are not rounded" in " ".join(got.stdout.split())
    assert server.images < 100
