"""Models on disk: what was saved comes back, and nothing else does."""

import hashlib
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from advbench.core.errors import CorruptFile, UsageError
from advbench.models import store
from advbench.nn import create
from advbench.nn.frozen import freeze

SHAPE = (16, 16, 1)


def saved(folder, name="mlp", seed=3):
    module = create(name, shape=SHAPE, classes=4, seed=seed)
    store.save(folder, module, architecture=name, shape=SHAPE, classes=4, dataset="mnist", record={"eps": "8/255"})
    return module


def resign(folder, **changes):
    """Make the manifest agree with whatever the weights file now holds."""
    manifest = json.loads((folder / "model.json").read_text())
    manifest["sha256"] = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize("name", ["mlp", "resnet8"])
def test_round_trip_gives_the_same_logits_bit_for_bit(tmp_path, name):
    module = saved(tmp_path, name)
    x = jax.random.uniform(jax.random.key(0), (3, *SHAPE))
    if name == "resnet8":
        module(x)  # Batch statistics must travel too.
        store.save(tmp_path, module, architecture=name, shape=SHAPE, classes=4)
    loaded, manifest = store.load(tmp_path)
    np.testing.assert_array_equal(freeze(loaded)(x), freeze(module)(x))
    assert (manifest.architecture, manifest.shape, manifest.classes) == (name, SHAPE, 4)


def test_loaded_network_can_train_on(tmp_path):
    saved(tmp_path, "small-cnn")
    loaded, _ = store.load(tmp_path)
    loaded.fc3.kernel[...] = jnp.ones((200, 4))
    x = jnp.ones((2, *SHAPE))
    assert (loaded(x) != loaded(x)).any()  # Dropout draws.


def test_manifest_keeps_the_record_and_the_file_is_reproducible(tmp_path):
    saved(tmp_path / "a")
    saved(tmp_path / "b")
    _, manifest = store.load(tmp_path / "a" / "model.safetensors")
    assert manifest.record == {"eps": "8/255"}
    assert manifest.dataset == "mnist"
    assert (tmp_path / "a/model.safetensors").read_bytes() == (tmp_path / "b/model.safetensors").read_bytes()
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"model.safetensors", "model.json"}


def test_digest_tells_weights_and_architectures_apart(tmp_path):
    saved(tmp_path, seed=1)
    first = store.load(tmp_path)[1]
    saved(tmp_path, seed=2)
    assert store.load(tmp_path)[1].digest != first.digest
    assert first.model_copy(update={"architecture": "small-cnn"}).digest != first.digest


@pytest.mark.parametrize("where", [8, 500, -1])
def test_one_flipped_bit_is_named_with_both_digests(tmp_path, where):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    content = bytearray(path.read_bytes())
    expected = hashlib.sha256(content).hexdigest()
    content[where] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFile) as caught:
        store.load(tmp_path)
    for part in (str(path), expected, hashlib.sha256(content).hexdigest()):
        assert part in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("keep", [0, 7, 100, -4])
def test_truncated_file_is_refused_even_when_its_manifest_agrees(tmp_path, keep):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CorruptFile, match="sha256"):
        store.load(tmp_path)
    resign(tmp_path)
    with pytest.raises(CorruptFile, match="not a safetensors file"):
        store.load(tmp_path)


def test_every_wrong_array_is_listed(tmp_path):
    saved(tmp_path)
    path = tmp_path / "model.safetensors"
    arrays = load_file(path)
    del arrays["layers.0.bias"]
    arrays["stranger"] = np.zeros(1, np.float32)
    arrays["layers.1.bias"] = np.zeros(5, np.float32)
    arrays["layers.2.bias"] = arrays["layers.2.bias"].astype(np.float64)
    save_file(arrays, path)
    resign(tmp_path)
    with pytest.raises(CorruptFile) as caught:
        store.load(tmp_path)
    for fault in (
        "missing layers.0.bias",
        "unexpected stranger",
        "layers.1.bias is float32[5], not float32[128]",
        "layers.2.bias is float64[4], not float32[4]",
    ):
        assert fault in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [{"format": 2}, {"shape": [10, -1, 1]}, {"shape": [10, 10**9, 1]}, {"classes": 0}, {"more": 1}, {"sha256": "0"}],
)
def test_foreign_manifest_is_refused_by_field(tmp_path, changes):
    saved(tmp_path)
    resign(tmp_path, **changes)
    with pytest.raises(CorruptFile, match=next(iter(changes))):
        store.load(tmp_path)


def test_manifest_that_is_no_json_missing_files_and_unknown_architecture(tmp_path):
    saved(tmp_path)
    resign(tmp_path, architecture="small-cn")
    with pytest.raises(UsageError, match="did you mean 'small-cnn'"):
        store.load(tmp_path)
    (tmp_path / "model.json").write_bytes(b"\x80\x04pickle")
    with pytest.raises(CorruptFile, match="not a model manifest"):
        store.load(tmp_path)
    (tmp_path / "model.json").unlink()
    with pytest.raises(UsageError, match=r"model\.json: No such file"):
        store.load(tmp_path)


def test_full_disk_leaves_the_former_model_whole(tmp_path, monkeypatch):
    saved(tmp_path, seed=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        saved(tmp_path, seed=2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
