"""A baseline is read back as it was written, refused where it is damaged, and never compared with something else."""

import json

import numpy as np
import pytest

from advbench.core.errors import UsageError
from advbench.core.spec import ThreatSpec
from advbench.evaluation.result import ThreatInfo
from advbench.gating.baseline import Baseline, Outcomes, Scope

BITS = np.random.default_rng(0).random(150) < 0.7
THREAT = ThreatInfo.of(ThreatSpec.parse("linf", "8/255"))
SCOPE = Scope("noise test", 3, "abc")


def baseline(**changes):
    given = {
        "model": "net",
        "model_digest": "w",
        "data": SCOPE.data,
        "n": 150,
        "images_digest": SCOPE.images_digest,
        "seed": SCOPE.seed,
        "threats": (Outcomes.of(THREAT, ["fgsm", "pgd"], BITS),),
        "versions": {},
    }
    return Baseline(**{**given, **changes})


def test_outcomes_come_back_as_they_were(tmp_path):
    path = tmp_path / "b.json"
    path.write_text(baseline().to_json())
    found = Baseline.load(path)
    assert found == baseline()
    (bits,) = found.under(SCOPE, [(THREAT, ["fgsm", "pgd"])])
    assert np.array_equal(bits, BITS)


def test_it_can_be_reviewed():
    lines = baseline().to_json().splitlines()
    assert max(map(len, lines)) < 100
    assert sum(set(line.strip(' ",')) <= {"0", "1"} and len(line) > 20 for line in lines) == 3


def test_the_same_eps_may_be_typed_in_another_way():
    same = ThreatInfo.of(ThreatSpec.parse("linf", "16/510"))
    assert len(baseline().under(SCOPE, [(same, ["fgsm", "pgd"])])) == 1


@pytest.mark.parametrize(
    ("scope", "threat", "attacks", "part"),
    [
        (SCOPE._replace(data="mnist test"), ("linf", "8/255"), ["fgsm", "pgd"], "data (noise test, now mnist test)"),
        (SCOPE._replace(seed=4), ("linf", "8/255"), ["fgsm", "pgd"], "seed (3, now 4)"),
        (SCOPE._replace(images_digest="xyz"), ("linf", "8/255"), ["fgsm", "pgd"], "images (abc, now xyz)"),
        (SCOPE, ("linf", "4/255"), ["fgsm", "pgd"], "threat (linf 8/255, now linf 4/255)"),
        (SCOPE, ("l2", "8/255"), ["fgsm", "pgd"], "threat (linf 8/255, now l2 8/255)"),
        (SCOPE, ("linf", "8/255"), ["fgsm"], "attacks (fgsm, pgd, now fgsm)"),
    ],
)
def test_what_differs_is_named(scope, threat, attacks, part):
    with pytest.raises(UsageError) as found:
        baseline().under(scope, [(ThreatInfo.of(ThreatSpec.parse(*threat)), attacks)])
    assert part in str(found.value) and found.value.exit_code == 2


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"schema_version": 2}, "schema version 1"),
        ({"surprise": 1}, "surprise"),
        ({"n": 149}, "150 outcomes of 149 images"),
        ({"n": -1}, "n:"),
        ({"threats": 3}, "threats"),
    ],
)
def test_damage_is_named(tmp_path, change, part):
    path = tmp_path / "b.json"
    path.write_text(json.dumps(json.loads(baseline().to_json()) | change))
    with pytest.raises(UsageError) as found:
        Baseline.load(path)
    assert part in str(found.value) and "--update-baseline" in str(found.value)


@pytest.mark.parametrize(("digit", "part"), [("0", "and says"), ("2", "other than 0 and 1")])
def test_an_edited_outcome_is_seen(tmp_path, digit, part):
    content = json.loads(baseline().to_json())
    lines = content["threats"][0]["images"]
    lines[0] = lines[0].replace("1", digit, 1)
    path = tmp_path / "b.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=part):
        Baseline.load(path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"\x00" * 100])
def test_what_is_no_json_is_no_baseline(tmp_path, content):
    (tmp_path / "b.json").write_bytes(content)
    with pytest.raises(UsageError, match="schema version 1"):
        Baseline.load(tmp_path / "b.json")


def test_a_missing_baseline_is_never_skipped(tmp_path):
    for path, part in ((tmp_path / "no.json", "No such file"), (tmp_path, "not a file")):
        with pytest.raises(UsageError, match=part):
            Baseline.load(path)
