"""A network trained elsewhere, rebuilt on our convolution, gives the logits it gave there."""

from hashlib import sha256

import numpy as np
import pytest

from tests.oracles import EPS, FOLDER, load_arrays, load_oracle


@pytest.mark.parametrize("name", EPS)
def test_reference_logits_agree(name):
    arrays = load_arrays(name)
    images, logits = arrays["reference_images"], arrays["reference_logits"]
    assert np.abs(load_oracle(name).predict(images) - logits).max() <= 1e-5 * np.abs(logits).max()


def test_the_files_are_those_that_were_proven():
    sums = dict(line.split()[::-1] for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    assert {path.name for path in FOLDER.iterdir() if path.suffix in (".npz", ".txt")} == set(sums)
    assert {name: sha256((FOLDER / name).read_bytes()).hexdigest() for name in sums} == sums
