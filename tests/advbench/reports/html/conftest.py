"""Runs to report on."""

import pytest

from ..runs import Data, store


@pytest.fixture
def data(monkeypatch):
    """What `advbench.data.load` gives during a test."""
    found = Data()
    monkeypatch.setattr("advbench.data.again", lambda *_: found)
    return found


@pytest.fixture
def stored(make, data, tmp_path):
    """`stored("a", robust=60, model__name="x")` -> a run directory of that name."""

    def run(folder, /, *, changes=None, **options):
        return store(tmp_path / folder, make(**options), data, **(changes or {}))

    return run
