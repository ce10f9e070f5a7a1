"""Models from `jax.export`: the function that was exported, or one line on what is wrong with the file."""

import hashlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from advbench.attacks.loop import loops_on_device
from advbench.core.errors import CorruptFile, UsageError
from advbench.core.preprocess import Preprocess
from advbench.models import exported
from advbench.models.load import load_model

SHAPE = (6, 6, 2)
KERNEL, OUT = (jax.random.normal(jax.random.key(k), s) for k, s in ((0, (3, 3, 2, 4)), (1, (4, 3))))
X = jax.random.uniform(jax.random.key(2), (5, *SHAPE))


def net(x):
    y = jax.lax.conv_general_dilated(x, KERNEL, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return jnp.tanh(y).mean((1, 2)) @ OUT


def nchw(x):
    return net(x.transpose(0, 2, 3, 1))


def packed(function=net, shape=SHAPE, batch="b", vjp_order=1, dtype=jnp.float32, **options):
    lead = export.symbolic_shape(batch) if isinstance(batch, str) else (batch,)
    images = jax.ShapeDtypeStruct((*lead, *shape), dtype)
    return bytes(export.export(jax.jit(function), **options)(images).serialize(vjp_order=vjp_order))


@pytest.fixture(scope="module")
def blob():
    return packed()


@pytest.fixture
def file(tmp_path, blob):
    path = tmp_path / "net.jaxexport"
    path.write_bytes(blob)
    return path


def input_gradient(model, x):
    return jax.grad(lambda x: (model(x) ** 2).sum())(x)


@pytest.mark.parametrize("batch", ["b", 1, 3])
def test_forward_and_gradient_are_those_of_the_function_for_any_number_of_images(tmp_path, batch):
    path = tmp_path / "net.jaxexport"
    path.write_bytes(packed(batch=batch))
    model = load_model(str(path))
    assert (model.name, model.shape, model.classes, model.access) == ("net", SHAPE, 3, "gradient")
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    predict = jax.jit(lambda model, x: model(x))
    np.testing.assert_allclose(predict(model.predict, X), net(X), atol=1e-5)
    np.testing.assert_allclose(jax.jit(input_gradient)(model.predict, X), input_gradient(net, X), atol=1e-5)
    assert jax.default_backend() != "cpu" or not loops_on_device(model.predict, X)


def test_layout_and_normalisation_are_declared_as_for_any_model(tmp_path):
    path = tmp_path / "net.jaxexport"
    path.write_bytes(packed(nchw, shape=(2, 6, 6)))
    model = load_model(str(path), Preprocess("nchw", mean=(0.5,), std=(0.25,)))
    np.testing.assert_allclose(model.predict(X), net((X - 0.5) / 0.25), atol=1e-5)
    path.write_bytes(packed(lambda x: net(x.reshape(-1, *SHAPE)), shape=(72,)))
    np.testing.assert_allclose(load_model(str(path), Preprocess("flat-hwc")).predict(X), net(X), atol=1e-5)


def test_a_digest_beside_the_file_must_agree(file, blob):
    beside = file.with_name("net.jaxexport.sha256")
    beside.write_text(f"{hashlib.sha256(blob).hexdigest()}  net.jaxexport\n")
    assert exported.load(file).classes == 3
    changed = bytearray(blob)
    changed[len(blob) // 2] ^= 1
    file.write_bytes(changed)
    with pytest.raises(CorruptFile, match=r"sha256 expected [0-9a-f]{64}, actual [0-9a-f]{64}"):
        exported.load(file)
    beside.write_text("")
    with pytest.raises(CorruptFile, match="expected nothing"):
        exported.load(file)


def test_truncated_and_foreign_bytes_are_one_line(file, blob):
    cuts = [blob[:n] for n in (0, 1, 4, 9, *range(16, len(blob), len(blob) // 40))]
    for damaged in [*cuts, b"\x00" * 64, b"PK\x03\x04" + b"a" * 100, b"not a model", blob[::-1]]:
        file.write_bytes(damaged)
        with pytest.raises(CorruptFile, match=r"is damaged, or not a jax\.export file") as caught:
            exported.load(file)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vjp_order": 0}, r"without its gradient: export it again with .*serialize\(vjp_order=1\)"),
        ({"function": lambda x: x, "shape": ()}, r"takes float32\[b\], not images"),
        ({"function": lambda x: x.mean((1, 2)), "dtype": jnp.float16}, r"takes float16\[b,6,6,2\], not images"),
        ({"function": lambda x: net(x).sum()}, r"gives float32\[\], not logits"),
        ({"function": lambda x: (net(x).sum(), x)}, r"gives float32\[\], float32\[b,6,6,2\], not logits"),
        ({"platforms": ["cuda"]}, r'is for cuda, this is cpu: export it with platforms=\["cpu", "cuda"\]'),
    ],
)
def test_what_is_no_classifier_here_is_refused(tmp_path, options, message):
    path = tmp_path / "net.jaxexport"
    path.write_bytes(packed(**options))
    with pytest.raises(UsageError, match=message):
        exported.load(path)


def test_a_file_that_calls_into_this_process_is_refused(tmp_path):
    def hostile(x):
        reach = jax.ffi.ffi_call("xla_ffi_python_cpu_callback", jax.ShapeDtypeStruct(x.shape, x.dtype))
        return net(x + reach(jax.lax.stop_gradient(x), index=np.uint64(0)))

    path = tmp_path / "net.jaxexport"
    check = export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")
    path.write_bytes(packed(hostile, batch=4, disabled_checks=[check]))
    with pytest.raises(UsageError, match="calls xla_ffi_python_cpu_callback: only plain array operations"):
        exported.load(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"cannot read .*none\.jaxexport: No such file"):
        load_model(str(tmp_path / "none.jaxexport"))
