"""Fits a draft head: the generator's image at a low resolution, from its early features.

    python scripts/fit_draft.py --generator mobilestylegan-ffhq --resolution 256 [--out HEAD]

The target is the generator's own output, clipped and averaged over areas; where the generator has
an intermediate image (StyleGAN2's skip image), the head learns its residual. The styles resemble
those that a search visits: prior samples, truncated ones, style mixtures, and styles that differ
from layer to layer, half of them on the sphere of a search that starts at the mean.

Without --out the head is stored beside the generator's file, where it is loaded from. The
defaults need 15 GB of disk at 256 px of `mobilestylegan-ffhq`, for features in float16. The shipped
heads were fitted by an earlier version of this procedure, in several runs.
"""

import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.load import draft_path, generator_path, load_generator
from perceptual_jax.degradation.resampling import downscale
from perceptual_jax.generator.arrays import named_params
from perceptual_jax.generator.draft import DraftHead, DraftParts, finish_draft, init_draft_head


class Examples(NamedTuple):
    """Training data of a head in memory-mapped files, one row for each sample."""

    features: np.ndarray
    """Inputs of the head [n h w c], see `DraftParts`."""
    late: np.ndarray
    """Deviations of the late styles from the mean of W [n j d]."""
    target: np.ndarray
    """Image [n r r 3], minus the generator's intermediate image if there is one."""


def sample_styles(generator, key):
    """Styles from a mixture of six distributions, similar to those that a search visits."""
    keys = jax.random.split(key, 3)
    k, w_mean = generator.num_styles, generator.w_mean[None]
    w = jax.vmap(generator.mapping)(jax.random.normal(keys[0], (k + 3, generator.z_dim))) - w_mean
    own, (a, b, c) = w[:k], (jnp.broadcast_to(row, w[:k].shape) for row in w[k:])
    u = jax.random.uniform(keys[1], (4,))
    cut = jnp.arange(k)[:, None] < jnp.floor(u[0] * k)
    mixed = 0.7 * a + (0.3 + 0.5 * u[1]) * own
    kinds = [
        w_mean + a,
        w_mean + (0.2 + 0.8 * u[1]) * a,
        w_mean + (0.4 + 0.5 * u[2]) * jnp.where(cut, a, b),
        w_mean + (0.3 + 0.6 * u[2]) * mixed,
        on_sphere(w_mean + (0.5 + 1.5 * u[3]) * mixed, w_mean),
        on_sphere(w_mean + 0.7 * (0.3 + 0.9 * u[2]) * own + (0.2 + 0.8 * u[1]) * c, w_mean),
    ]
    return jnp.stack(kinds)[jax.random.randint(keys[2], (), 0, len(kinds))]


def on_sphere(styles, w_mean):
    return styles * jnp.linalg.norm(w_mean) / jnp.linalg.norm(styles, axis=1, keepdims=True)


def make_examples(generator, resolution: int, count: int, seed: int, folder: Path) -> Examples:
    """Generates `count` examples, stored in `folder`."""

    @jax.jit
    def example(generator, key):
        styles, noise = sample_styles(generator, key), generator.noise_maps()
        image = jnp.clip(generator.synthesis(styles, noise), -1.0, 1.0)
        target = downscale(image, (resolution, resolution), filter="area")
        features, late, base = generator.draft_parts(styles, noise, resolution)
        target = target if base is None else target - base
        return features, late, target

    columns: list[np.ndarray] = []
    for i, key in enumerate(jax.random.split(jax.random.key(seed), count)):
        features, late, target = map(np.asarray, example(generator, key))
        # Cast by NumPy, as everywhere here: XLA casts no float16 on CPUs of old instruction sets.
        stored = (features.astype(np.float16), late, target.astype(np.float16))
        for j, x in enumerate(stored):
            if i == 0:
                file, shape = folder / f"{seed}_{j}.npy", (count, *x.shape)
                columns.append(np.lib.format.open_memmap(file, "w+", x.dtype, shape))
            columns[j][i] = x
    return Examples(*columns)


def decode(head, features, late):
    return finish_draft(head, DraftParts(features, late, None))


def fit(train: Examples, steps: int, *, hidden: int, crop: int) -> DraftHead:
    """Adam on random crops, with a warm-up and a cosine decay of the learning rate."""
    features, late, targets = train
    size, factor = features.shape[1], targets.shape[1] // features.shape[1]
    head = init_draft_head(
        jax.random.key(0), features.shape[-1], late.shape[-1], hidden=hidden, out=3 * factor**2
    )
    graph, params = nnx.split(head)
    rate = optax.warmup_cosine_decay_schedule(0.0, 4e-3, min(100, steps // 10), steps, 1e-5)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))
    crop = min(crop, size)
    # Leaves out the border that depends on pixels outside of the crop (two convolutions).
    inner = slice(2 * factor, -2 * factor) if crop < size else slice(None)

    @jax.jit
    def step(params, state, f, s, t):
        def loss(params):
            error = jax.vmap(decode, (None, 0, 0))(nnx.merge(graph, params), f, s) - t
            return 100 * jnp.mean(error[:, inner, inner] ** 2)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state, rng, start = optimizer.init(params), np.random.default_rng(0), time.monotonic()
    for i in range(steps):
        rows = rng.integers(0, len(features), 6)
        corners = rng.integers(0, size - crop + 1, (6, 2))
        crops = [(j, y, x) for j, (y, x) in zip(rows, corners, strict=True)]
        f = np.stack([features[j, y : y + crop, x : x + crop] for j, y, x in crops])
        t = np.stack(
            [
                targets[j, factor * y : factor * (y + crop), factor * x : factor * (x + crop)]
                for j, y, x in crops
            ]
        )
        f, t = f.astype(np.float32), t.astype(np.float32)
        params, state, value = step(params, state, f, late[rows], t)
        if (i + 1) % 500 == 0 or i + 1 == steps:
            psnr = -10 * np.log10(float(value) / 400)
            print(f"step {i + 1}: {psnr:.2f} dB, {time.monotonic() - start:.0f} s", flush=True)
    return nnx.merge(graph, params)


def psnr_of(head: DraftHead | None, test: Examples) -> np.ndarray:
    """PSNR of each example in dB; without a head, that of the intermediate image (or black)."""
    drafted = jax.jit(decode)
    errors = []
    for f, s, t in zip(*test, strict=True):
        shown = 0 if head is None else drafted(head, f.astype(np.float32), s)
        difference = t.astype(np.float32) - shown
        errors.append(np.mean(difference**2) / 4)
    return -10 * np.log10(errors)


def main(
    *,
    generator: str = "mobilestylegan-ffhq",
    resolution: int = 256,
    hidden: int = 48,
    samples: int = 1800,
    test_samples: int = 64,
    steps: int = 9000,
    crop: int = 48,
    out: Path | None = None,
) -> None:
    """Fits the head and stores it.

    Args:
        generator: Name or file of the generator.
        resolution: Pixels per side of the draft.
        hidden: Width of the head.
        samples: Number of training samples.
        test_samples: Number of test samples.
        steps: Steps of the optimiser.
        crop: Pixels per side of the crops of features.
        out: File of the head; None stores it beside the generator's file.
    """
    path = generator_path(generator, report=print)
    name = store.inspect(path).get("name", path.stem)
    network = load_generator(path)
    with tempfile.TemporaryDirectory() as folder:
        train = make_examples(network, resolution, samples, 1, Path(folder))
        test = make_examples(network, resolution, test_samples, 7, Path(folder))
        head = fit(train, steps, hidden=hidden, crop=crop)
        before, after = psnr_of(None, test), psnr_of(head, test)
    print(
        f"{test_samples} unseen samples: without the head mean {before.mean():.2f} dB, "
        f"with it mean {after.mean():.2f} dB, worst {after.min():.2f} dB"
    )
    arrays = {field: np.asarray(x, np.float16) for field, x in named_params(head).items()}
    settings = {"resolution": resolution, "psnr": round(float(after.mean()), 2)}
    out = out or draft_path(path, resolution)
    store.save(out, arrays, {"architecture": "draft_head", "name": name, "config": settings})
    print(f"stored {out}")


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
