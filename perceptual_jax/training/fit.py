"""A training as a job in a folder, from which it can be resumed.

    settings.json       network, training and data; a resumed training must have the same
    checkpoints/        the whole state at the last steps (orbax)
    log.jsonl           losses, and evaluations on pictures that are not trained on
    model.safetensors   the moving average that ranked best
    last.safetensors    the moving average at the last evaluation
    loss.png            curves of the training loss and of the NLL of held-out pictures
    samples.png         degraded pictures beside samples, from the last evaluation

A checkpoint holds the state of the input pipeline as well, so an interrupted training takes the
same steps as an uninterrupted one. Files of models are written atomically.
"""

import dataclasses
import functools
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from perceptual_jax.degradation.profiles import load_profile
from perceptual_jax.errors import Error, UsageError
from perceptual_jax.evaluation.sheet import contact_sheet
from perceptual_jax.io.files import (
    check_folder,
    json_text,
    make_folder,
    save_json,
    write_atomically,
)
from perceptual_jax.io.images import write_png
from perceptual_jax.likelihood.config import PixelCNNConfig
from perceptual_jax.likelihood.layers import unfold
from perceptual_jax.likelihood.likelihood import Likelihood
from perceptual_jax.likelihood.models import load_model
from perceptual_jax.training.checks import SETTINGS, check_counts, check_settings, check_sizes
from perceptual_jax.training.curves import draw_curves
from perceptual_jax.training.evaluation import (
    Record,
    best_of,
    evaluate,
    evaluation_batch,
    line_of,
    sample_rows,
)
from perceptual_jax.training.pairs import evaluation_pairs, training_batches
from perceptual_jax.training.sources import open_sources
from perceptual_jax.training.step import (
    Batch,
    TrainConfig,
    TrainState,
    from_stored,
    init_state,
    to_batch,
    to_stored,
    train_step,
)

first_state = jax.jit(init_state, static_argnums=(0, 1))
"""`init_state`, compiled once for each network and its hyperparameters."""

take_step = jax.jit(train_step, static_argnums=(2, 3), donate_argnums=0)
"""`train_step`, likewise; the state that it is given is gone."""


class TrainingError(Error, RuntimeError):
    """A training that cannot continue; the message is one sentence for the user."""


@dataclasses.dataclass(frozen=True)
class Job:
    """The network to train, its data and its hyperparameters."""

    data: tuple[str, ...]
    """Folders and `tfds:` names, see `sources.open_sources`."""
    held_out: tuple[str, ...]
    """Folders and `tfds:` names of the pictures for the evaluations."""
    profile: str
    """Name or path of the profile that degrades the pictures."""
    network: PixelCNNConfig
    train: TrainConfig
    size: int = 256
    """Pixels of the shorter side to which larger pictures are reduced before the degradation."""
    reconstructions: str | None = None
    """A folder with a generator's versions of some pictures, see `pairs`."""
    init_from: str | None = None
    """Name or path of a model whose weights the training starts from; None starts at random."""


class Summary(NamedTuple):
    """The result of a training."""

    out: Path
    steps: int
    best: Record
    """The evaluation of `model.safetensors`."""

    def __str__(self) -> str:
        """One line for the user."""
        best = self.best
        return (
            f"trained {self.steps} steps; the model of step {best['step']} ranks best, "
            f"{best['ranking']:.1%} at {best['bits']:.3f} bits/dim; results in {self.out}"
        )


def fit(
    job: Job,
    out: str | os.PathLike[str],
    *,
    evaluate_every: int = 1000,
    checkpoint_every: int = 500,
    log_every: int = 50,
    evaluation_images: int = 24,
    overwrite: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[float, int], None] | None = None,
) -> Summary:
    """Trains until `job.train.steps`, from the last checkpoint if there is one.

    Args:
        job: Network, data and hyperparameters.
        out: Folder of the training; created if it does not exist.
        evaluate_every: Steps between evaluations, which choose the model.
        checkpoint_every: Steps between checkpoints, the most that an interruption can lose.
        log_every: Steps between lines of the log.
        evaluation_images: Number of pictures in the evaluations.
        overwrite: Begin anew in a folder that holds another training, or files of its names.
        report: Called with a line of text after each evaluation.
        progress: Called with the number of steps done and of all.

    Raises:
        UsageError, InputError: If the settings or the data cannot be used; nothing is written.
        TrainingError: If the loss becomes NaN or infinite. The last checkpoint and the best
            model remain.
        WriteError: If a file cannot be written.
    """
    out = Path(out)
    check_counts(
        size=job.size,
        steps=job.train.steps,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
    )
    check_folder(out)
    if not overwrite:
        check_settings(out, settings_of(job))
    train = job.train
    profile = load_profile(job.profile)
    source = open_sources(job.data, size=job.size, report=report)
    held_out = open_sources(job.held_out, size=job.size, report=report)
    pairs = evaluation_pairs(held_out, profile, seed=train.seed, count=evaluation_images)
    evaluation = evaluation_batch(pairs)
    batches = training_batches(
        source,
        profile,
        crop=train.crop,
        batch_size=train.batch_size,
        seed=train.seed,
        reconstructions=job.reconstructions,
    )
    check_sizes(source, train.crop)
    make_folder(out)
    if overwrite:
        shutil.rmtree(out / "checkpoints", ignore_errors=True)
    save_json(out / SETTINGS, settings_of(job))

    place = _placement(train.batch_size)
    init_fn = functools.partial(first_state, job.network, train)
    options = ocp.CheckpointManagerOptions(max_to_keep=2)
    with ocp.CheckpointManager((out / "checkpoints").absolute(), options=options) as checkpoints:
        state, records = _resume(checkpoints, out, init_fn, batches, job, place)
        if report is not None:
            report("compiling a step of the training")
        step, losses, began = int(state.step), [], time.monotonic()
        while step < train.steps:
            batch = place(to_batch(next(batches)))
            state, measures = take_step(state, batch, job.network, train)
            losses.append(measures["loss"])
            step += 1
            if progress is not None:
                progress(step, train.steps)
            last = step == train.steps
            if step % log_every == 0 or step % checkpoint_every == 0 or last:
                mean = float(jnp.mean(jnp.stack(losses)))
                seconds = (time.monotonic() - began) / len(losses)
                losses, began = [], time.monotonic()
                if not math.isfinite(mean):
                    raise TrainingError(
                        f"the loss became NaN or infinite before step {step}; the last good "
                        f"checkpoint is that of step {checkpoints.latest_step() or 0}, try a "
                        "lower learning rate"
                    )
                records.append({"step": step, "loss": mean, "seconds": seconds})
            if step % evaluate_every == 0 or last:
                records.append(
                    evaluate(out, state, job.network, evaluation, records, settings_of(job))
                )
                _write_records(out, records)
                _write_samples(out, state, job.network, evaluation)
                if report is not None:
                    report(line_of(records[-1]))
                began = time.monotonic()
            if step % checkpoint_every == 0 or last:
                _save(checkpoints, state, batches)
                _write_records(out, records)
        checkpoints.wait_until_finished()
    return Summary(out, step, best_of(records))


def settings_of(job: Job) -> Record:
    """Settings that determine the steps of a training, except their number."""
    settings = dataclasses.asdict(job)
    del settings["train"]["steps"]
    return json.loads(json_text(settings))


def _placement(batch_size: int) -> Callable[[Batch], Batch]:
    """A function that shards a batch over all local devices, in equal parts."""
    devices = jax.local_devices()
    if batch_size % len(devices):
        raise UsageError(
            f"the batch size must be a multiple of the {len(devices)} devices, got {batch_size}"
        )
    mesh = jax.make_mesh((len(devices),), ("images",), (AxisType.Auto,), devices=devices)
    return lambda batch: jax.device_put(batch, NamedSharding(mesh, PartitionSpec("images")))


def _resume(
    checkpoints: ocp.CheckpointManager,
    out: Path,
    init_fn: Callable[[Batch], TrainState],
    batches: Any,
    job: Job,
    place: Callable[[Batch], Batch],
) -> tuple[TrainState, list[Record]]:
    """The state to resume from, or the initial one, and the records up to it."""
    step = checkpoints.latest_step()
    if step is None:
        model = None if job.init_from is None else _first_model(job.init_from, job)
        start = batches.get_state()
        state = init_fn(place(to_batch(next(batches))))
        batches.set_state(start)
        if model is not None:
            weights = nnx.to_pure_dict(nnx.state(unfold(model.network)))
            state = state._replace(weights=weights, average=jax.tree.map(jnp.copy, weights))
        return state, []
    example = to_stored(jax.eval_shape(init_fn, jax.eval_shape(to_batch, _shapes(job.train))))
    args = ocp.args.Composite(state=ocp.args.StandardRestore(example), input=ocp.args.JsonRestore())
    restored = checkpoints.restore(step, args=args)
    batches.set_state(_from_json(restored["input"]))
    lines = (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return from_stored(restored["state"]), [record for record in records if record["step"] <= step]


def _save(checkpoints: ocp.CheckpointManager, state: TrainState, batches: Any) -> None:
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(to_stored(state)),
        input=ocp.args.JsonSave(_to_json(batches.get_state())),
    )
    checkpoints.save(int(state.step), args=args)
    # The next step donates the buffers of this state.
    checkpoints.wait_until_finished()


def _to_json(state: Any) -> Record:
    return {"state": state.decode() if isinstance(state, bytes) else state}


def _from_json(value: Record) -> Any:
    return value["state"]


def _shapes(train: TrainConfig) -> dict[str, Any]:
    n, s = train.batch_size, train.crop
    image = jax.ShapeDtypeStruct((n, s, s, 3), jnp.uint8)
    return {
        "degraded": image,
        "original": image,
        "tables": jax.ShapeDtypeStruct((n, 2, 8, 8), jnp.float32),
        "subsampling": jax.ShapeDtypeStruct((n,), jnp.int32),
        "phase": jax.ShapeDtypeStruct((n, 2), jnp.int32),
    }


def _first_model(init_from: str, job: Job) -> Likelihood:
    """The model whose weights a training starts from."""
    model = load_model(init_from)
    if model.config != job.network:
        raise UsageError(f"{init_from} is another network than the one to train")
    return model


def _write_records(out: Path, records: Sequence[Record]) -> None:
    lines = "".join(json_text(record) + "\n" for record in records)
    write_atomically(out / "log.jsonl", lines.encode())
    curves = {
        "training": [(r["step"], r["loss"]) for r in records if "loss" in r],
        "held out": [(r["step"], r["bits"]) for r in records if "bits" in r],
    }
    write_png(out / "loss.png", draw_curves(curves, x="step", y="bits/dim"), kind="sheet")


def _write_samples(out: Path, state: TrainState, network: PixelCNNConfig, batch: Batch) -> None:
    rows = sample_rows(state, network, batch)
    sheet = contact_sheet(rows, headings=["original", "degraded", "sample"], cell=128)
    write_png(out / "samples.png", np.asarray(sheet), kind="sheet")
