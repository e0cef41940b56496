import dataclasses
import json
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from perceptual_jax.errors import UsageError
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.training import fit as fitting
from perceptual_jax.training.evaluation import bits_of_conditions, decoys, ranking_accuracy
from perceptual_jax.training.fit import Job, TrainingError, fit
from perceptual_jax.training.sources import DataError
from perceptual_jax.training.step import (
    TrainConfig,
    augment,
    from_stored,
    init_state,
    learning_rate,
    to_stored,
    train_step,
)
from tests.helpers.networks import FAST, batch, network
from tests.helpers.pictures import picture
from tests.helpers.processes import environment

NETWORK = PixelCNNConfig(
    channels=4,
    blocks=1,
    components=2,
    encoder="none",
    fusion_blocks=0,
    phase="none",
    mean="condition",
)
TRAIN = TrainConfig(steps=6, batch_size=4, crop=16, warmup=2)
OPTIONS = {"evaluate_every": 3, "checkpoint_every": 2, "log_every": 1, "evaluation_images": 2}


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(4):
        Image.fromarray(picture(i, 48, 48)).save(folder / f"{i}.png")
    data, held_out = (f"{folder}[:3]",), (f"{folder}[3:]",)
    return Job(data=data, held_out=held_out, profile="jpeg", network=NETWORK, train=TRAIN, size=48)


def test_what_cannot_be_trained_on_is_refused_at_the_start(job, tmp_path):
    for name, side in (("held", 3), ("data", 20)):
        (tmp_path / name).mkdir()
        Image.fromarray(picture(0, side, side)).save(tmp_path / name / "tiny.png")
    held = dataclasses.replace(job, held_out=(str(tmp_path / "held"),))
    data = dataclasses.replace(job, data=(str(tmp_path / "data"),))
    data = dataclasses.replace(data, train=dataclasses.replace(TRAIN, crop=32))
    for wrong, message in (
        (held, "tiny, degraded by jpeg, has 3 x 3 pixels"),
        (data, "tiny has 20 x 20 pixels"),
    ):
        with pytest.raises(DataError, match=message):
            fit(wrong, tmp_path / "out", **OPTIONS)
    for name in ("evaluate_every", "checkpoint_every"):
        with pytest.raises(UsageError, match=f"{name} must be at least 1, got 0"):
            fit(job, tmp_path / "out", **(OPTIONS | {name: 0}))
    assert not (tmp_path / "out").exists()


def losses(out):
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {record["step"]: record["loss"] for record in records if "loss" in record}


@pytest.fixture(scope="module")
def finished(job, tmp_path_factory):
    out = tmp_path_factory.mktemp("training") / "whole"
    lines = []
    summary = fit(job, out, **OPTIONS, report=lines.append)
    assert len(lines) == 3
    assert lines[0] == "compiling a step of the training"
    assert "bits/dim; ranking another" in lines[1]
    return out, summary


def test_a_training_leaves_models_log_and_curve(finished):
    out, summary = finished
    assert summary.steps == 6
    assert summary.best["step"] in (3, 6)
    assert "ranks best" in str(summary)
    for name in ("model", "last"):
        assert load_model(out / f"{name}.safetensors").config == NETWORK
    assert sorted(losses(out)) == [1, 2, 3, 4, 5, 6]
    with Image.open(out / "loss.png") as curve:
        assert curve.size == (720, 432)
    with Image.open(out / "samples.png") as grid:
        assert len(grid.getcolors(2**16) or ()) > 1000


def test_a_training_that_was_stopped_takes_the_same_steps(job, finished, tmp_path):
    class Stop(Exception):
        pass

    def stop(step, total):
        if step == 5:  # One step after the last checkpoint.
            raise Stop

    with pytest.raises(Stop):
        fit(job, tmp_path / "out", **OPTIONS, progress=stop)
    fit(job, tmp_path / "out", **OPTIONS)
    assert losses(tmp_path / "out") == losses(finished[0])
    first, second = (
        load_model(out / "last.safetensors") for out in (tmp_path / "out", finished[0])
    )
    jax.tree.map(np.testing.assert_array_equal, first.network, second.network)


def test_checkpoints_hold_parameters_by_the_names_of_layers():
    """As they did before there were modules, so that older trainings go on."""
    state = jax.eval_shape(lambda data: init_state(FAST, TRAIN, data), batch())
    stored = to_stored(state)
    moments = stored.optimizer[1][0]
    for params in (stored.weights, stored.average, moments.mu, moments.nu):
        assert params["u1.first"].keys() == {"v", "g", "b"}
        assert params["phase.unknown"].keys() == {"w"}
    again = from_stored(stored)
    assert jax.tree.structure(again) == jax.tree.structure(state)


def test_another_network_in_the_same_folder_is_refused(job, finished):
    other = dataclasses.replace(job, network=FAST)
    with pytest.raises(UsageError, match="holds a training with another network"):
        fit(other, finished[0], **OPTIONS)


def test_a_training_may_begin_with_a_model(job, finished, tmp_path):
    model = finished[0] / "last.safetensors"
    train = dataclasses.replace(TRAIN, steps=1, learning_rate=1e-9)
    begun = dataclasses.replace(job, init_from=str(model), train=train)
    fit(begun, tmp_path / "out", **OPTIONS)
    again = load_model(tmp_path / "out" / "last.safetensors")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4),
        again.network,
        load_model(model).network,
    )
    wrong = dataclasses.replace(begun, network=FAST)
    with pytest.raises(UsageError, match="is another network"):
        fit(wrong, tmp_path / "other", **OPTIONS)


def test_nan_stops_with_the_last_good_checkpoint(job, tmp_path, monkeypatch):
    def broken(state, batch, config, train):
        state, measures = train_step(state, batch, config, train)
        loss = jnp.where(state.step > 4, jnp.nan, measures["loss"])
        return state, measures | {"loss": loss}

    step = jax.jit(broken, static_argnums=(2, 3), donate_argnums=0)
    monkeypatch.setattr(fitting, "take_step", step)
    with pytest.raises(TrainingError, match=r"NaN or infinite before step 5; .* that of step 4"):
        fit(job, tmp_path / "out", **OPTIONS)
    assert load_model(tmp_path / "out" / "model.safetensors").config == NETWORK
    monkeypatch.undo()
    assert fit(job, tmp_path / "out", **OPTIONS).steps == 6


ON_FOUR_DEVICES = """
import dataclasses, pickle, sys
from perceptual_jax.errors import UsageError
from perceptual_jax.training.fit import fit

job, out, options = pickle.loads(bytes.fromhex(sys.argv[1]))
fit(job, out, **options)
try:
    fit(dataclasses.replace(job, train=dataclasses.replace(job.train, batch_size=6)), out + "-odd")
except UsageError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.long
def test_a_batch_is_shared_among_all_devices(job, finished, tmp_path):
    short = dataclasses.replace(job, train=dataclasses.replace(TRAIN, steps=2))
    arguments = pickle.dumps((short, str(tmp_path / "out"), OPTIONS)).hex()
    child = subprocess.run(
        [sys.executable, "-c", ON_FOUR_DEVICES, arguments],
        env=environment(JAX_NUM_CPU_DEVICES="4"),
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stderr
    assert "the batch size must be a multiple of the 4 devices, got 6" in child.stdout
    # The same crops, whose losses are summed in another order.
    four, one = losses(tmp_path / "out"), losses(finished[0])
    np.testing.assert_allclose([four[1], four[2]], [one[1], one[2]], rtol=1e-3)


@pytest.mark.long
def test_the_loss_falls_on_one_batch():
    data = batch(8)
    train = TrainConfig(steps=40, batch_size=8, warmup=1, learning_rate=5e-3)
    state = jax.jit(init_state, static_argnums=(0, 1))(NETWORK, train, data)
    step = jax.jit(train_step, static_argnums=(2, 3))
    first = None
    for _ in range(25):
        state, measures = step(state, data, NETWORK, train)
        first = measures["loss"] if first is None else first
    assert measures["loss"] < 0.9 * first
    assert not np.array_equal(state.average["head"]["b"], state.weights["head"]["b"])


def test_conditions_are_augmented_and_headers_withheld():
    data = batch(8)
    many = jax.tree.map(lambda x: jnp.concatenate([x] * 16), data)
    train = TrainConfig(unknown_tables=0.5, unknown_phase=0.25, noisy=0.2, blurred=0.2)
    changed = jax.jit(augment, static_argnums=1)(many, train, jax.random.key(0))
    np.testing.assert_array_equal(changed.degraded, many.degraded)
    unknown = np.asarray(changed.header.tables[:, 0, 0, 0] == 0)
    assert 40 < unknown.sum() < 88
    np.testing.assert_array_equal(unknown, changed.header.subsampling == -1)
    assert 14 < (changed.header.phase[:, 0] == -1).sum() < 52
    away = np.abs(np.asarray(changed.restored - many.restored)).max(axis=(1, 2, 3))
    plain = away <= 1 / 255 + 1e-6  # Only dequantised.
    assert 60 < plain.sum() < 105


def test_the_learning_rate_rises_stays_and_falls():
    train = TrainConfig(steps=100, warmup=10, cooldown=0.2, learning_rate=1.0)
    rates = [float(learning_rate(train, step)) for step in (0, 4, 9, 50, 80, 90, 100)]
    np.testing.assert_allclose(rates, [0.1, 0.5, 1, 1, 1, 0.5, 0], atol=1e-6)


def test_decoys_and_their_ranking():
    data = batch(8)
    conditions = decoys(data.restored)
    np.testing.assert_array_equal(conditions["another"][0], data.restored[7])
    np.testing.assert_array_equal(conditions["shift2"][:, :, 5], data.restored[:, :, 3])
    bits = jax.jit(bits_of_conditions)(network(FAST).network, data, conditions)
    assert {value.shape for value in bits.values()} == {(8,)}
    accuracy = ranking_accuracy({"paired": np.zeros(2), "blur": np.array([0.0, 1.0])})
    assert accuracy == {"blur": 0.5}
