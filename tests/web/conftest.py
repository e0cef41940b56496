"""What the page's tests share: a narrow generator, and a face that is seen."""

import pytest

from perceptual_jax.checkpoints.load import load_generator
from perceptual_jax.web.restoring import load_tools
from tests.helpers.job_files import CONFIG


@pytest.fixture(scope="session")
def tools(narrow_path):
    """Tools that see no face anywhere."""
    return load_tools(CONFIG, generator=load_generator(narrow_path), find=lambda pixels: [])
