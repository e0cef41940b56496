"""Tests the styles of a job's results against the prior of the job's generator.

The bank of prior samples is that of the job's config: its size, kernel and bandwidth, and the seed
that searches use. Nothing is kept between runs, since a test takes less than a tenth of a second.
"""

import os
import zipfile
from collections.abc import Container
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from perceptual_jax.checkpoints.load import choose_class, load_generator
from perceptual_jax.config import RestoreConfig
from perceptual_jax.config_files import from_toml
from perceptual_jax.errors import Error, UsageError
from perceptual_jax.evaluation.metrics.permutation import permutation_test
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.resume import CONFIG
from perceptual_jax.jobs.scoring.pairing import Report, is_job, listed
from perceptual_jax.jobs.status import read_results
from perceptual_jax.jobs.writing import generator_sha256
from perceptual_jax.restoration.default_prior import PRIOR_SEED, style_prior
from perceptual_jax.types import Generator

_AT_ONCE = 8

# The key is one for all, so a batch shares the draws of the permutations, which take most time.
_test = jax.jit(jax.vmap(permutation_test, in_axes=(0, None, None)))


def score_styles(
    folder: str | os.PathLike[str],
    names: Container[str],
    *,
    generator: Generator | None = None,
    say: Report,
    insist: bool,
) -> dict[str, dict[str, float]]:
    """The metrics `mmd2` and `mmd2_p` of a job's results, by the names of the inputs.

    Args:
        folder: A folder; one that is no job's has no styles.
        names: The results that are wanted; of several samples the first is taken.
        generator: The generator of the job; None loads the one that it names.
        say: Receives lines for the user.
        insist: Whether a generator that cannot be had is an error; else a line says so.

    Raises:
        Error: If it is one.
    """
    out = Path(folder)
    records = {}
    if is_job(folder):
        records = {r["name"]: r for r in read_results(out) if "files" in r and r["name"] in names}
    if not records:
        return {}
    try:
        config = from_toml(out / CONFIG)
        used = _generator(config, next(iter(records.values())), generator, say)
        bank = style_prior(used, config).bank  # that of the job's searches
    except Error as error:
        if insist:
            raise
        say(f"{folder}: without mmd2, mmd2_p: {error}")
        return {}
    styles, damaged = {}, []
    for name in records:
        try:
            with np.load(out / f"{name}.npz", allow_pickle=False) as arrays:
                found = arrays["styles"]
        except (EOFError, KeyError, OSError, ValueError, zipfile.BadZipFile):
            damaged.append(name)
        else:
            styles[name] = found[0] if found.ndim == 3 else found
    if damaged:
        say(f"{folder}: no mmd2 of {listed(damaged)}: the file of the styles cannot be read")
    scores, wanted = {}, list(styles)
    for start in range(0, len(wanted), _AT_ONCE):
        some = wanted[start : start + _AT_ONCE]
        # The last batch is filled up, since another size would be compiled.
        rows = np.stack([styles[name] for name in some + some[:1] * (_AT_ONCE - len(some))])
        tests = _test(jnp.asarray(rows), bank, jax.random.key(PRIOR_SEED))
        for name, mmd2, p_value in zip(some, *tests, strict=False):
            scores[name] = {"mmd2": float(mmd2), "mmd2_p": float(p_value)}
    return scores


def _generator(
    config: RestoreConfig, record: Record, given: Generator | None, say: Report
) -> Generator:
    """The generator of a job, whose hash its records have."""
    generator = given
    if generator is None:
        if record.get("generator") != config.generator:
            raise UsageError(f"its generator was {record.get('generator')}; give it in Python, too")
        generator = load_generator(config.generator, report=say, dtype=config.dtype)
    generator = choose_class(generator, config.generator_class)
    if record["settings"]["generator_sha256"] != generator_sha256(generator):
        raise UsageError(f"the generator {config.generator} is not the one that the job used")
    return generator
