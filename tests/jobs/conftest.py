"""A finished job with a narrow generator."""

import shutil

import pytest

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.plan import JobOptions
from tests.helpers.job_files import CONFIG, picture


@pytest.fixture(scope="session")
def narrow(narrow_path):
    return load_generator(narrow_path)


@pytest.fixture(scope="session")
def finished(narrow, tmp_path_factory):
    """A folder of pictures and the folder of the job that restored them; not to be changed."""
    root = tmp_path_factory.mktemp("job")
    for seed, name in enumerate(["a.png", "b.png", "sub/a.png"]):
        picture(root / "in" / name, seed)
    options = JobOptions(batch_size=4)
    summary = restore_files([root / "in"], root / "out", CONFIG, options, generator=narrow)
    assert (summary.restored, summary.kept, summary.failed) == (3, 0, ())
    return root


@pytest.fixture
def folder(finished, tmp_path):
    """The same, to be changed; the inputs stay where they were."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def again(finished, narrow):
    """The job of `finished`, into any folder, with any other `JobOptions`.

    Batches of one size, because each size is compiled.
    """

    def run(
        out,
        config=CONFIG,
        *,
        inputs=None,
        generator=narrow,
        progress=None,
        batch_size=4,
        **options,
    ):
        return restore_files(
            inputs or [finished / "in"],
            out,
            config,
            JobOptions(batch_size=batch_size, **options),
            generator=generator,
            progress=progress,
        )

    return run
