"""Our convolution and pooling beside JAX's own, at the shapes of our networks: `python benchmarks/operators.py`.

Each operator is timed forward, with the gradient of its input, and with that of its weights, as one jitted step called
from the host and inside `fori_loop`. Times are the best in ms for a step, contestants taking turns.
`ADVBENCH_NATIVE=0` shows ours in pure JAX.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from rich.console import Console
from rich.table import Table

from advbench.nn import create, native
from advbench.nn.frozen import freeze
from advbench.nn.ops import conv2d
from advbench.nn.pooling import max_pool

Operator = Callable[[jax.Array, jax.Array], jax.Array]
Step = Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]
STEPS = 2
# Image side, channels in and out, kernel side, stride, padding.
CONVOLUTIONS = {
    "small-cnn conv1": (28, 1, 32, 3, 1, "VALID"),
    "small-cnn conv2": (26, 32, 32, 3, 1, "VALID"),
    "small-cnn conv3": (12, 32, 64, 3, 1, "VALID"),
    "small-cnn conv4": (10, 64, 64, 3, 1, "VALID"),
    "madry-cnn conv2": (14, 32, 64, 5, 1, "SAME"),
    "resnet20 group 1": (32, 16, 16, 3, 1, "SAME"),
    "resnet20 to group 2": (32, 16, 32, 3, 2, "SAME"),
}


def plain_conv(x: jax.Array, kernel: jax.Array, *, stride: int, padding: str) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def plain_pool(x: jax.Array) -> jax.Array:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def passes(operator: Operator) -> dict[str, Step]:
    """Steps (x, kernel) -> (x, kernel) that a compiler can neither skip nor move out of a loop."""

    def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return (operator(x, kernel) ** 2).sum()

    return {
        "forward": lambda x, k: (x + 1e-9 * operator(x, k).mean(), k),
        "+ input gradient": lambda x, k: (x + 1e-9 * jax.grad(loss, 0)(x, k), k),
        "+ weight gradient": lambda x, k: (x, k + 1e-9 * jax.grad(loss, 1)(x, k)),
    }


def programs(step: Step, x: jax.Array, kernel: jax.Array) -> list[Callable[[], object]]:
    """One step called from the host, and STEPS of them on the device."""
    host = jax.jit(step)
    device = jax.jit(lambda x, k: lax.fori_loop(0, STEPS, lambda _, c: step(*c), (x, k)))
    return [lambda: host(x, kernel), lambda: device(x, kernel)]


def measure(contestants: list[Callable[[], object]], repeats: int) -> list[float]:
    """Best milliseconds of each, taking turns, so that a busy machine is busy for all."""
    times: list[list[float]] = [[] for _ in contestants]
    for turn in range(repeats + 1):
        for run, taken in zip(contestants, times, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run())
            if turn:  # The first one compiles.
                taken.append((time.perf_counter() - start) * 1e3)
    return [min(taken) for taken in times]


def compare(
    table: Table, name: str, plain: Operator, ours: Operator, x: jax.Array, kernel: jax.Array, repeats: int
) -> None:
    for what, step in passes(plain).items():
        if what == "+ weight gradient" and kernel.size == 1:
            continue
        runs = programs(step, x, kernel) + programs(passes(ours)[what], x, kernel)
        host_plain, device_plain, host_ours, device_ours = measure(runs, repeats)
        device_plain, device_ours = device_plain / STEPS, device_ours / STEPS
        cells = [host_plain, host_ours, host_ours / host_plain, device_plain, device_ours, device_ours / device_plain]
        table.add_row(name, what, *(f"{cell:.2f}" for cell in cells))


def images_per_second(name: str, shape: tuple[int, int, int], batch: int, repeats: int) -> list[float]:
    """Speed of an attack's step (forward and input gradient) and of a training step's gradient."""
    module = create(name, shape=shape, classes=10, seed=0)
    x = jax.random.uniform(jax.random.key(0), (batch, *shape))
    graph, params, rest = nnx.split(module, nnx.Param, ...)
    model = freeze(module)
    attack = jax.jit(lambda model, x: jax.grad(lambda x: (model(x) ** 2).sum())(x))
    train = jax.jit(jax.grad(lambda p, rest, x: (nnx.merge(graph, p, rest, copy=True)(x) ** 2).sum()))
    times = measure([lambda: attack(model, x), lambda: train(params, rest, x)], repeats)
    return [batch / taken * 1e3 for taken in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    where = f"jax {jax.__version__}, {jax.default_backend()}, batch {arguments.batch}, native kernel {native.status()}"
    table = Table("operator", "pass", title=f"ms a step; {where}")
    for column in ("host plain", "ours", "ratio", "loop plain", "ours", "ratio"):
        table.add_column(column, justify="right")
    key = jax.random.key(0)
    for name, (side, fan_in, fan_out, window, stride, padding) in CONVOLUTIONS.items():
        x = jax.random.normal(key, (arguments.batch, side, side, fan_in))
        kernel = jax.random.normal(key, (window, window, fan_in, fan_out))

        def plain(x, k, stride=stride, padding=padding):
            return plain_conv(x, k, stride=stride, padding=padding)

        def ours(x, k, stride=stride, padding=padding):
            return conv2d(x, k, stride=stride, padding=padding)

        compare(table, name, plain, ours, x, kernel, arguments.repeats)
    x = jax.random.normal(key, (arguments.batch, 24, 24, 32))
    compare(
        table,
        "max-pool 24x24x32",
        lambda x, k: plain_pool(x) * k,
        lambda x, k: max_pool(x) * k,
        x,
        jnp.ones(()),
        arguments.repeats,
    )
    console = Console(width=110)
    console.print(table)
    table = Table("network", "forward + input gradient", "forward + weight gradients", title="images/s, host loop")
    for name, side, channels in [("small-cnn", 28, 1), ("madry-cnn", 28, 1), ("resnet8", 32, 3), ("resnet20", 32, 3)]:
        speeds = images_per_second(name, (side, side, channels), arguments.batch, arguments.repeats)
        table.add_row(name, *(f"{speed:,.0f}" for speed in speeds))
    console.print(table)


if __name__ == "__main__":
    main()
