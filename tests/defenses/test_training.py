"""The loop: what it trains on, when it stops, what it keeps."""

import contextlib
import dataclasses
import importlib.machinery
import json
import struct
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from advbench.defenses import Standard
from advbench.defenses.checkpoints import damage
from advbench.defenses.metrics import JsonLines, writers
from advbench.defenses.training import (
    Diverged,
    Stopped,
    Trainer,
    fit,
)
from advbench.nn.frozen import freeze

from .tiny import LINF, PGD3, RECIPE, Ears, Linear, Net, blobs, leaves, same, scripted


class Spy(Standard):
    """Sees every batch; spoils the one numbered `nan`."""

    seen = []  # noqa: RUF012
    nan = None

    def perturb(self, model, threat, x, y, keys):
        self.seen.append((np.asarray(x), np.asarray(y), threat.eps))
        return x * jnp.nan if len(self.seen) == self.nan else x


@pytest.fixture
def spy(monkeypatch):
    monkeypatch.setattr(Spy, "seen", [])
    return Spy()


def stop_at(count, signal=15):
    """A `should_stop` that answers with the signal at its `count`-th question."""
    asked = []

    def should_stop():
        asked.append(None)
        return signal if len(asked) == count else None

    return should_stop


def rows(images):
    return {image.tobytes() for image in images}


def test_it_learns_and_reports():
    ears = Ears()
    fitted = fit(Net(), PGD3, LINF, *blobs(), dataclasses.replace(RECIPE, epochs=4), listeners=[ears])
    x, y = blobs(200, seed=9)
    assert (freeze(fitted.module)(x / np.float32(255)).argmax(-1) == y).mean() > 0.9
    assert [record["epoch"] for record in ears.epochs] == [1, 2, 3, 4]
    assert ears.windows[-1]["loss"] < ears.windows[0]["loss"]
    assert fitted.best == max(ears.epochs, key=lambda record: (record["robust"], record["clean"]))
    assert fitted.history == ears.epochs


def test_held_out_images_are_never_trained_on_and_others_all_are(spy):
    images, labels = blobs(160)
    recipe = dataclasses.replace(RECIPE, epochs=3)
    fit(Net(), spy, LINF, images, labels, recipe)
    trained = set().union(*(rows(x) for x, _, _ in spy.seen))
    trainer = Trainer(Net(), spy, LINF, images, labels, recipe, lambda: None, [])
    held = rows(np.asarray(trainer.data.images[trainer.data.held], np.float32) / np.float32(255))
    assert len(held) == 32
    assert not trained & held
    assert len(trained) == 128


def test_batches_depend_on_the_seed_alone(spy):
    images, labels = blobs()
    orders = []
    for model_seed, seed in ((0, 0), (5, 0), (0, 1)):
        spy.seen.clear()
        fit(Net(model_seed), spy, LINF, images, labels, dataclasses.replace(RECIPE, seed=seed, lr=0.001 + model_seed))
        orders.append(np.concatenate([y for _, y, _ in spy.seen]))
    assert np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], orders[2])


def test_eps_warms_up(spy):
    fit(Net(), spy, LINF, *blobs(), RECIPE)  # half an epoch of 8 steps
    assert [eps for *_, eps in spy.seen][:6] == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1, 0.1])


def test_the_same_seed_gives_the_same_network_and_the_module_given_is_left_alone():
    module, fresh = Net(), Net()
    a = fit(module, PGD3, LINF, *blobs(), RECIPE)
    b = fit(fresh, PGD3, LINF, *blobs(), RECIPE)
    assert same(a.module, b.module)
    assert same(module, Net())
    assert not same(a.module, Net())


@pytest.mark.parametrize("stop", [1, 6, 9])
def test_an_interrupted_run_ends_where_an_uninterrupted_one_does(tmp_path, stop):
    whole = fit(Net(), PGD3, LINF, *blobs(), RECIPE)
    with pytest.raises(Stopped) as stopped:
        fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path, should_stop=stop_at(stop))
    assert stopped.value.signal == 15
    resumed = fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path, resume=True)
    assert same(whole.module, resumed.module)
    measured = ("loss", "accuracy", "lr", "images_per_second")  # of a window that the stop cut
    strip = [{k: v for k, v in record.items() if k not in measured} for record in resumed.history]
    assert strip == [{k: v for k, v in record.items() if k not in measured} for record in whole.history]


def test_a_finished_run_resumes_to_its_result(tmp_path):
    done = fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path)
    again = fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path, resume=True)
    assert same(done.module, again.module)
    assert again.best == done.best


def test_a_loss_that_is_not_finite_stops_the_run_and_spoils_no_checkpoint(tmp_path, spy, monkeypatch):
    monkeypatch.setattr(Spy, "nan", 11)  # in the second epoch of 8 steps
    with pytest.raises(Diverged, match="after step 16"):
        fit(Net(), spy, LINF, *blobs(), RECIPE, out=tmp_path)
    assert [entry.name for entry in (tmp_path / "checkpoints").iterdir()] == ["8"]
    assert damage(tmp_path / "checkpoints" / "8") is None
    monkeypatch.setattr(Spy, "nan", None)
    fitted = fit(Net(), spy, LINF, *blobs(), RECIPE, out=tmp_path, resume=True)
    assert all(np.isfinite(leaf).all() for leaf in (fitted.module.first.kernel[...], fitted.module.norm.var[...]))


def test_a_stop_saves_no_spoiled_weights(tmp_path, spy, monkeypatch):
    monkeypatch.setattr(Spy, "nan", 2)
    with pytest.raises(Diverged):
        fit(Net(), spy, LINF, *blobs(), RECIPE, out=tmp_path, should_stop=stop_at(4))
    assert not (tmp_path / "checkpoints").exists()


def test_patience_ends_a_run_that_does_not_improve(monkeypatch):
    scripted(monkeypatch, (0.9, 0.8, 0.5), (0.9, 0.8, 0.7), (0.9, 0.8, 0.69))
    fitted = fit(Net(), PGD3, LINF, *blobs(), dataclasses.replace(RECIPE, epochs=50, patience=3))
    assert len(fitted.history) == 5
    assert fitted.best["epoch"] == 2


@pytest.mark.parametrize(("defense", "best"), [(PGD3, 1), (Standard(), 2)])
def test_robust_accuracy_chooses_the_weights_of_defenses_and_clean_accuracy_those_of_none(monkeypatch, defense, best):
    scripted(monkeypatch, (0.8, 0.8, 0.5), (0.9, 0.8, 0.4))
    assert fit(Net(), defense, LINF, *blobs(), RECIPE).best["epoch"] == best


def test_metrics_are_written_and_a_resumed_run_writes_none_twice(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(Stopped):
        fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path, should_stop=stop_at(12), listeners=[JsonLines(path)])
    with path.open("a") as file:  # killed while it wrote
        file.write('{"kind": "window", "step": 14, "lo')
    fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=tmp_path, resume=True, listeners=[JsonLines(path)])
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(record["kind"], record["step"]) for record in records] == [
        ("window", 8),
        ("epoch", 8),
        ("window", 11),
        ("window", 16),
        ("epoch", 16),
    ]
    assert {"loss", "clean", "fgsm", "robust", "lr", "eps", "images_per_second"} <= records[1].keys()


def test_tensorboard_gets_the_same_metrics_where_it_is_installed(tmp_path, monkeypatch):
    scalars, closed = [], []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            assert (folder, purge_step) == (str(tmp_path / "tensorboard"), 1)

        def add_scalar(self, name, value, step):
            scalars.append((name, value, step))

        def flush(self):
            assert not closed

        def close(self):
            closed.append(True)

    fake = types.ModuleType("tensorboardX")
    fake.SummaryWriter = SummaryWriter
    fake.__spec__ = importlib.machinery.ModuleSpec("tensorboardX", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", fake)
    fitted = fit(Net(), Standard(), LINF, *blobs(), RECIPE, listeners=writers(tmp_path))
    assert ("validation/robust", fitted.history[0]["robust"], 8) in scalars and closed == [True]
    assert {"train/loss", "train/lr", "validation/clean"} <= {name for name, *_ in scalars}


@pytest.mark.integration(needs="tensorboardX")
def test_what_tensorboardx_wrote_reads_back_and_a_resumed_run_purges(tmp_path):
    """Its files are records: a length in 8 bytes, 4 bytes of a checksum, an `Event`, 4 bytes of another."""
    from tensorboardX.proto.event_pb2 import Event

    def read(path):
        content, events = path.read_bytes(), []
        while content:
            (length,) = struct.unpack_from("<Q", content)
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
        return events

    for out, stop in ((tmp_path, stop_at(12)), (tmp_path, None)):
        with contextlib.suppress(Stopped):
            options = {"should_stop": stop} if stop else {"resume": True}
            fit(Net(), PGD3, LINF, *blobs(), RECIPE, out=out, listeners=writers(out), **options)
    files = sorted((tmp_path / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    before, after = (read(path) for path in files)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    wanted = {
        (f"{'train' if record['kind'] == 'window' else 'validation'}/{name}", record["step"]): value
        for record in records
        for name, value in record.items()
        if name not in ("kind", "step", "epoch")
    }
    # A reader takes the later file from the step on that it purges.
    told = [(e, v) for e in before + after for v in e.summary.value]
    found = {(v.tag, e.step): v.simple_value for e, v in told}
    assert found == pytest.approx(wanted, rel=1e-6)
    (purge,) = {e.step for e in after if e.session_log.status == e.session_log.START}
    assert purge == 1 + max(step for _, step in ((v.tag, e.step) for e, v in told if e in before))


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="40 images can't hold out 32 and fill a batch of 16"):
        fit(Net(), PGD3, LINF, *blobs(40), RECIPE)


def test_a_network_without_dropout_or_statistics_trains_too():
    class Plain(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(36, 3, rngs=nnx.Rngs(0))

        def __call__(self, x):
            return self.layer(x.reshape(len(x), -1))

    fitted = fit(Plain(), Standard(), LINF, *blobs(), dataclasses.replace(RECIPE, lr=0.05, augment="crop-flip"))
    assert not same(fitted.module, Plain())


class Tells(Linear):
    """Notes what it is computed in, each time it is traced."""

    dtypes = set()  # noqa: RUF012

    def __call__(self, x):
        Tells.dtypes.add((x.dtype.name, self.layer.kernel[...].dtype.name))
        return super().__call__(x)


@pytest.mark.parametrize("perturb", ["float32", "bfloat16"])
def test_images_can_be_crafted_in_bfloat16_and_nothing_else_is(perturb, monkeypatch):
    monkeypatch.setattr(Tells, "dtypes", set())
    recipe = dataclasses.replace(RECIPE, perturb_dtype=perturb)
    trainer = Trainer(Tells(), PGD3, LINF, *blobs(), recipe, lambda: None, [])
    jax.clear_caches()  # what is cached is not traced, and tells nothing
    Tells.dtypes.clear()
    order = np.arange(trainer.per_epoch * recipe.batch_size)
    x, x_adv, _ = trainer.batch(jnp.asarray(order), 0, trainer.now.state)
    assert Tells.dtypes == {(perturb, perturb)}
    assert x.dtype == x_adv.dtype == np.float32
    assert float(jnp.abs(x_adv - x).max()) == pytest.approx(trainer.eps(0), rel=1e-3)
    trainer.epoch()
    jax.clear_caches()
    Tells.dtypes.clear()
    trainer.validate()
    assert Tells.dtypes == {("float32", "float32")}
    assert all(leaf.dtype == np.float32 for leaf in leaves(nnx.state(nnx.merge(trainer.graph, trainer.now.state))))


def test_coarse_images_lead_nearly_where_exact_ones_do():
    def perturbed(perturb):
        trainer = Trainer(
            Net(), PGD3, LINF, *blobs(), dataclasses.replace(RECIPE, perturb_dtype=perturb), lambda: None, []
        )
        order = jnp.arange(trainer.per_epoch * RECIPE.batch_size)
        return trainer.batch(order, 20, trainer.now.state)[1]

    exact, near = perturbed("float32"), perturbed("bfloat16")
    assert float((jnp.abs(exact - near) < 1e-3).mean()) > 0.9
