"""Training of the likelihood: pictures, pairs, the step, evaluations, and the job around them."""

from importlib.util import find_spec

from perceptual_jax.errors import UsageError

if _absent := [name for name in ("grain", "matplotlib") if find_spec(name) is None]:
    raise UsageError(
        f"training needs {' and '.join(_absent)}: install perceptual-jax with its extra `train`"
    )
