"""The native kernel: the same mathematics as XLA's convolution, wherever it is called, and never in the way."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from advbench.nn import native
from advbench.nn.fused import conv_relu
from advbench.nn.native import build
from advbench.nn.ops import conv2d
from advbench.nn.pooling import max_pool
from tests.processes import start

needs_native = pytest.mark.skipif(native.status() != "on", reason=f"native kernel {native.status()}")
VALID, SAME, FULL = ((0, 0), (0, 0)), ((1, 1), (1, 1)), ((2, 2), (2, 2))
ODD, CROP = ((2, 0), (0, 3)), ((-1, 1), (1, -2))
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def truth(x, kernel, pads):
    """Nine products, in float64."""
    size = [n + low + high - 2 for n, (low, high) in zip(x.shape[1:3], pads, strict=True)]
    wide = np.pad(x.astype(np.float64), ((0, 0), (3, 3), (3, 3), (0, 0)))
    (top, _), (left, _) = pads
    return sum(
        wide[:, 3 - top + i :, 3 - left + j :][:, : size[0], : size[1]] @ kernel[i, j]
        for i in range(3)
        for j in range(3)
    )


@needs_native
@pytest.mark.parametrize("pads", [VALID, SAME, FULL, ODD, CROP])
@pytest.mark.parametrize(
    ("b", "h", "w", "c", "o"),
    [(1, 9, 7, 16, 16), (2, 8, 8, 32, 48), (7, 5, 6, 16, 80), (3, 28, 28, 1, 32), (5, 9, 10, 3, 16), (3, 7, 9, 32, 3)],
)
def test_it_convolves(b, h, w, c, o, pads):
    x, kernel = normal(0, b, h, w, c), normal(1, 3, 3, c, o) / np.float32(3 * np.sqrt(c))
    expected = truth(x, kernel, pads)
    y = native.conv(x, kernel, pads)
    assert y.shape == expected.shape
    np.testing.assert_allclose(y, expected, atol=2e-5)
    if o % 16 == 0:
        dy = normal(2, *y.shape)
        _, back = jax.vjp(lambda k: lax.conv_general_dilated(x, k, (1, 1), pads, dimension_numbers=DIMENSIONS), kernel)
        (dw,) = back(dy)
        np.testing.assert_allclose(native.weight_gradient(x, dy, (3, 3), pads), dw, atol=1e-5 * np.abs(dw).max())


@needs_native
@pytest.mark.parametrize(("h", "c", "o"), [(16, 64, 64), (8, 256, 64), (4, 512, 64), (4, 64, 512)])
def test_winograd_errs_by_less_than_2e_6_of_the_largest_output(h, c, o):
    x, kernel = normal(0, 4, h, h, c), normal(1, 3, 3, c, o) / np.float32(3 * np.sqrt(c))
    expected = truth(x, kernel, SAME)
    assert np.abs(native.conv(x, kernel, SAME) - expected).max() < 2e-6 * np.abs(expected).max()


@needs_native
@pytest.mark.parametrize("pads", [SAME, ODD])
@pytest.mark.parametrize(
    ("h", "w", "c", "o", "k", "stride"),
    [(28, 28, 1, 16, 4, 2), (14, 13, 16, 32, 4, 2), (16, 17, 24, 48, 3, 2), (32, 32, 3, 24, 3, 2), (9, 11, 5, 12, 5, 3),
     (9, 8, 6, 11, 2, 1), (8, 7, 16, 24, 1, 2), (5, 6, 24, 16, 1, 1), (9, 7, 17, 40, 3, 1), (15, 14, 3, 16, 7, 2)],
)  # fmt: skip
def test_other_windows_and_strides_are_those_of_jax_and_so_are_their_gradients(h, w, c, o, k, stride, pads):
    x, kernel = normal(0, 3, h, w, c), normal(1, k, k, c, o) / np.float32(k * np.sqrt(c))

    def ours(x, kernel):
        return (conv2d(x, kernel, stride=stride, padding=pads) ** 2).sum()

    def theirs(x, kernel):
        y = lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=DIMENSIONS)
        return (y**2).sum()

    program = jax.jit(jax.value_and_grad(ours, (0, 1)))
    text = program.lower(x, kernel).as_text()
    assert "stablehlo.custom_call @advbench_conv" in text
    assert ("stablehlo.custom_call @advbench_weights" in text) == (o % native.lanes()[-1] == 0)
    (value, mine), (truth, others) = program(x, kernel), jax.value_and_grad(theirs, (0, 1))(x, kernel)
    np.testing.assert_allclose(value, truth, rtol=1e-5)
    for one, other in zip(mine, others, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


@needs_native
def test_a_strided_convolution_is_differentiated_again():
    x, kernel = normal(0, 2, 8, 8, 4), normal(1, 3, 3, 4, 16) / 6

    def steep(layer):
        def penalty(x, kernel):
            slopes = jax.grad(lambda *a: jnp.sin(layer(*a)).sum(), (0, 1))(x, kernel)
            return sum(jnp.sin(slope).sum() for slope in slopes)

        return jax.jit(jax.grad(penalty, (0, 1)))(x, kernel)

    ours = steep(lambda x, kernel: conv2d(x, kernel, stride=2, padding=SAME))
    theirs = steep(lambda x, kernel: lax.conv_general_dilated(x, kernel, (2, 2), SAME, dimension_numbers=DIMENSIONS))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * np.abs(other).max())


@needs_native
def test_the_gradients_of_conv2d_are_those_of_jax():
    x, kernel = normal(0, 3, 8, 8, 16), normal(1, 3, 3, 16, 32) / 12

    def ours(x, kernel):
        return (conv2d(x, kernel, padding="SAME") ** 2).sum()

    def theirs(x, kernel):
        return (lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=DIMENSIONS) ** 2).sum()

    program = jax.jit(jax.grad(ours, (0, 1)))
    assert program.lower(x, kernel).as_text().count("stablehlo.custom_call @advbench") == 3
    for mine, other in zip(program(x, kernel), jax.grad(theirs, (0, 1))(x, kernel), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * np.abs(other).max())


def plain_relu(x, kernel, bias, pads, pool):
    y = jax.nn.relu(lax.conv_general_dilated(x, kernel, (1, 1), pads, dimension_numbers=DIMENSIONS) + bias)
    return max_pool(y) if pool else y


@needs_native
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("pads", [VALID, SAME, FULL, ODD])
@pytest.mark.parametrize(("h", "w", "c", "o"), [(9, 8, 16, 24), (28, 28, 1, 32), (7, 10, 3, 16), (12, 9, 32, 16)])
def test_bias_relu_and_pooling_are_those_of_jax_and_so_are_their_gradients(h, w, c, o, pads, pool):
    lanes = native.lanes()[-1]
    o = -(-o // lanes) * lanes
    x, kernel, bias = normal(0, 3, h, w, c), normal(1, 3, 3, c, o) / np.float32(3 * np.sqrt(c)), normal(2, o)
    program = jax.jit(lambda *a: jax.vjp(lambda *b: conv_relu(*b, padding=pads, pool=pool), *a))
    assert "advbench_relu" in program.lower(x, kernel, bias).as_text()
    y, back = program(x, kernel, bias)
    truth, true_back = jax.vjp(lambda *b: plain_relu(*b, pads, pool), x, kernel, bias)
    np.testing.assert_allclose(y, truth, atol=2e-5)
    np.testing.assert_array_equal(conv_relu(x, kernel, bias, padding=pads, pool=pool), y)  # with codes or without
    dy = normal(3, *y.shape)
    for mine, other in zip(back(dy), true_back(dy), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-5 * np.abs(other).max())


@needs_native
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("pads", [VALID, ODD])
def test_gradients_of_bias_relu_and_pooling_are_differentiated_again(pads, pool):
    x, kernel, bias = normal(0, 3, 9, 8, 16), normal(1, 3, 3, 16, 16) / np.float32(12), normal(2, 16)

    def penalised(layer):
        def penalty(*a):
            slopes = jax.grad(lambda *a: jnp.sin(layer(*a)).sum(), (0, 1, 2))(*a)
            return sum(jnp.sin(slope).sum() for slope in slopes)

        return jax.jit(jax.grad(penalty, (0, 1, 2)))(x, kernel, bias)

    ours = penalised(lambda *a: conv_relu(*a, padding=pads, pool=pool))
    for mine, other in zip(ours, penalised(lambda *a: plain_relu(*a, pads, pool)), strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-4 * np.abs(other).max())


@needs_native
def test_ties_go_to_the_first_pixel_and_zeros_let_nothing_through():
    # One channel: every pixel is summed in the same order, so that ties are exact.
    x, kernel, bias = jnp.ones((1, 6, 6, 1)), jnp.ones((3, 3, 1, 16)), jnp.zeros(16).at[0].set(-1e3)

    def total(x, bias):
        return conv_relu(x, kernel, bias, padding=VALID, pool=True).sum()

    found, true = (
        jax.grad(f, (0, 1))(x, bias) for f in (total, lambda x, b: plain_relu(x, kernel, b, VALID, True).sum())
    )
    for mine, other in zip(found, true, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-3)
    assert found[1][0] == 0


@needs_native
@pytest.mark.parametrize("pool", [False, True])
def test_what_is_not_a_number_stays_so(pool):
    x, kernel, bias = jnp.zeros((2, 8, 8, 16)).at[1, 3, 3, 0].set(jnp.nan), jnp.ones((3, 3, 16, 16)), jnp.zeros(16)
    y = conv_relu(x, kernel, bias, padding=SAME, pool=pool)
    assert jnp.isnan(y[1]).any() and jnp.isfinite(y[0]).all()


@needs_native
def test_mapped_over_images_it_is_one_larger_batch():
    x, kernel, bias = normal(0, 5, 8, 8, 16), normal(1, 3, 3, 16, 16) / 12, normal(2, 16)

    def one(x):
        return conv_relu(x[None], kernel, bias, padding=SAME, pool=True)[0]

    np.testing.assert_array_equal(jax.vmap(one)(x), conv_relu(x, kernel, bias, padding=SAME, pool=True))
    each = jax.vmap(jax.grad(lambda x: (one(x) ** 2).sum()))(x)
    whole = jax.grad(lambda x: (conv_relu(x, kernel, bias, padding=SAME, pool=True) ** 2).sum())(x)
    np.testing.assert_array_equal(each, whole)


@needs_native
def test_in_a_loop_on_the_device_it_does_what_it_does_outside():
    x, kernel = normal(0, 2, 8, 8, 16), normal(1, 3, 3, 16, 16) / 12
    gradient = jax.grad(lambda x: (conv2d(x, kernel, padding="SAME") ** 2).sum())
    inside = jax.jit(lambda x: lax.fori_loop(0, 3, lambda _, x: x - 0.1 * gradient(x), x))(x)
    outside = x
    for _ in range(3):
        outside = outside - 0.1 * gradient(outside)
    np.testing.assert_allclose(inside, outside, atol=1e-5)


@needs_native
@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_is_a_loop_over_calls(axes):
    x = normal(0, *(4,) * (axes[0] == 0), 2, 6, 6, 16)
    kernel = normal(1, *(4,) * (axes[1] == 0), 3, 3, 16, 16)

    def both(x, kernel):
        y = native.conv(x, kernel, SAME)
        return y, native.weight_gradient(x, y, (3, 3), SAME)

    mapped = jax.vmap(both, axes)(x, kernel)
    for i in range(4):
        one = both(x[i] if axes[0] == 0 else x, kernel[i] if axes[1] == 0 else kernel)
        assert all((a[i] == b).all() for a, b in zip(mapped, one, strict=True))


@needs_native
@pytest.mark.parametrize(
    ("c", "o", "k", "stride"), [(32, 32, 3, 1), (160, 128, 3, 1), (64, 48, 3, 2), (320, 16, 1, 1), (3, 16, 3, 1)]
)
def test_an_image_gets_the_same_bits_in_any_company(c, o, k, stride):
    x, kernel = normal(0, 40, 6, 7, c), jnp.asarray(normal(1, k, k, c, o))
    together = native.conv(x, kernel, SAME, stride)
    assert (together[17:18] == native.conv(x[17:18], kernel, SAME, stride)).all()
    assert (together[5:8] == native.conv(x[5:8], kernel, SAME, stride)).all()
    swapped = kernel.swapaxes(2, 3)
    back = native.image_gradient(together, swapped, x.shape[1:3], SAME, stride)
    assert (back[17:18] == native.image_gradient(together[17:18], swapped, x.shape[1:3], SAME, stride)).all()


@needs_native
def test_a_weight_gradient_has_the_same_bits_every_time():
    x, dy = normal(0, 40, 10, 10, 32), normal(1, 40, 8, 8, 32)
    gradients = [native.weight_gradient(x, dy, (3, 3), VALID) for _ in range(5)]
    strided = [native.weight_gradient(x, dy[:, :4, :4], (3, 3), VALID, 2) for _ in range(5)]
    for each in gradients, strided:
        assert all((g == each[0]).all() for g in each)


@needs_native
@pytest.mark.parametrize(
    ("b", "h", "c", "o", "k", "stride"),
    [
        (8, 32, 24, 8, 3, 1),  # many tiles, a few at a time
        (5, 7, 48, 40, 3, 1),  # few, all at once
        (64, 8, 272, 8, 3, 2),  # more rows and columns than a block has, more pixels than are packed at once
        (6, 16, 24, 136, 2, 1),
        (2, 40, 3, 8, 5, 3),
        (2, 9, 40, 8, 1, 2),
        (1, 2, 8, 8, 5, 1),  # taps that no pixel reaches
    ],
)
def test_weight_gradients_of_all_shapes_are_those_of_jax(b, h, c, o, k, stride):
    pads = ((k // 2, k // 2), (k // 2, k // 2))
    x, kernel = normal(0, b, h, h, c), np.zeros((k, k, c, o), np.float32)

    def layer(kernel):
        return lax.conv_general_dilated(x, kernel, (stride, stride), pads, dimension_numbers=DIMENSIONS)

    y, back = jax.vjp(layer, kernel)
    dy = normal(1, *y.shape)
    (truth,) = back(dy)
    assert native.serves_weights(jnp.asarray(x), kernel.shape)
    found = native.weight_gradient(x, dy, (k, k), pads, stride)
    np.testing.assert_allclose(found, truth, atol=1e-5 * np.abs(truth).max())


@needs_native
def test_a_nan_stays_in_its_image():
    x = normal(0, 3, 6, 6, 16)
    x[1] = np.nan
    y = native.conv(x, normal(1, 3, 3, 16, 16), SAME)
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[::2]).all()


def test_it_refuses_what_it_was_not_made_for():
    x = jnp.zeros((1, 8, 8, 16))
    assert not native.serves(x, (9, 9, 16, 16))
    assert not native.serves(x, (1, 1, 16, 2))
    assert not native.serves(x, (3, 3, 16, 16), stride=2, fused=True)
    assert not native.serves(x, (3, 3, 16, 6))
    assert not native.serves(x, (3, 3, 16, 10), fused=True)
    assert not native.serves(x, (3, 3, 16, 3), fused=True)
    assert not native.serves(x.astype(jnp.bfloat16), (3, 3, 16, 16))
    assert not native.serves(x[:0], (3, 3, 16, 16))
    assert not native.serves_weights(x, (3, 3, 16, 10))
    assert not native.serves_weights(x, (9, 9, 16, 16))
    assert not native.serves_norm(x[..., :5])
    assert not native.serves_norm(x[0])


@pytest.fixture
def reseeded(monkeypatch, tmp_path):
    """Forget that the kernel is loaded, and what the cache folder holds."""
    monkeypatch.setattr(build.platformdirs, "user_cache_path", lambda name: tmp_path)
    forget()
    yield
    monkeypatch.undo()
    forget()


def forget():
    build.begin.cache_clear()
    build._load.cache_clear()


def convolves():
    x, kernel = normal(0, 2, 6, 6, 16), normal(1, 3, 3, 16, 16)
    return np.allclose(conv2d(x, kernel, padding=SAME), truth(x, kernel, SAME), atol=1e-4)


def test_without_a_compiler_jax_takes_over(monkeypatch, caplog, reseeded):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert native.status() == "off: no C++ compiler found"
    assert convolves()
    assert len(caplog.records) == 1


def test_a_failing_compiler_is_named(monkeypatch, reseeded):
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/false")
    assert native.status().startswith("off: /bin/false failed")
    assert convolves()


@needs_native
def test_a_kernel_that_errs_does_not_serve(monkeypatch, tmp_path, reseeded):
    monkeypatch.setattr(build, "_FLAGS", ("-O0", *build._FLAGS[1:]))  # optimising takes seconds
    sources = shutil.copytree(build._SOURCES, tmp_path / "sources")
    points = sources / "points.h"
    points.write_text(points.read_text().replace("a3 = a1 * a2", "a3 = a1"))
    monkeypatch.setattr(build, "_SOURCES", sources)
    assert native.status().startswith("off: the kernel's ")
    assert convolves()


@needs_native
def test_processes_may_build_at_once(tmp_path):
    """By a compiler that takes its time to write what was built before: its file is damaged until it is done."""
    whole, narrow = (build._build(options) for options in ((), ("-DLANES=8",)[: len(native.lanes()) - 1]))
    slow = tmp_path / "compiler"
    slow.write_text(f"""#!/bin/sh
case "$*" in *LANES=8*) from={narrow} ;; *) from={whole} ;; esac
for out; do :; done
head -c 1000 "$from" > "$out"; sleep 1; cat "$from" > "$out"
""")
    slow.chmod(0o755)
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "CXX": str(slow)}
    processes = [start(program="from advbench.nn import native; print(native.status())", **home) for _ in range(2)]
    assert [process.communicate()[0] for process in processes] == ["on\n"] * 2
    assert len([path for path in (tmp_path / "cache").rglob("*") if path.is_file()]) == len(native.lanes())


def test_the_environment_switches_it_off(monkeypatch):
    monkeypatch.setenv("ADVBENCH_NATIVE", "0")
    assert native.status() == "off: ADVBENCH_NATIVE=0"
    assert not native.serves(jnp.zeros((1, 8, 8, 16)), (3, 3, 16, 16))
