"""Fits a draft head: the generator's picture at a low resolution, from its early features.

    python scripts/fit_draft.py --generator mobilestylegan-ffhq --resolution 256 --out HEAD

The target is the generator's own output, clipped and averaged over areas. The styles are those a
search visits: prior samples, truncated ones, style mixtures, and styles that differ from layer to
layer, half of them on the sphere of a search that starts at the mean. The shipped heads were fitted
by this procedure in several sittings, on 1,800 samples (15 GB of float16 features at 256 px).
"""

import argparse
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from perceptual_jax.degradation.consistency import downscale
from perceptual_jax.generator.draft import DraftHead, apply_draft_head, init_draft_head
from perceptual_jax.generator.mobilestylegan import inverse_haar
from perceptual_jax.weights import store
from perceptual_jax.weights.load import load_generator


def sample_styles(generator, key):
    """Styles of one of six kinds, like those that a search visits."""
    keys = jax.random.split(key, 5)
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


def examples(generator, resolution, count, seed, folder):
    """Features, late styles and targets of `count` samples, on disk."""

    @jax.jit
    def example(generator, key):
        styles, noise = sample_styles(generator, key), generator.noise_maps()
        image = jnp.clip(generator.synthesis(styles, noise), -1.0, 1.0)
        target = downscale(image, (resolution, resolution), filter="area")
        features, late = generator.draft_features(styles, noise, resolution)
        return features.astype(jnp.float16), late, target.astype(jnp.float16)

    columns: list[np.ndarray] = []
    for i, key in enumerate(jax.random.split(jax.random.key(seed), count)):
        for j, x in enumerate(np.asarray(x) for x in example(generator, key)):
            if i == 0:
                file, shape = folder / f"{seed}_{j}.npy", (count, *x.shape)
                columns.append(np.lib.format.open_memmap(file, "w+", x.dtype, shape))
            columns[j][i] = x
    return columns


def decode(head, features, late):
    return inverse_haar(apply_draft_head(head, features.astype(jnp.float32), late))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n")[0])
    parser.add_argument("--generator", default="mobilestylegan-ffhq")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--hidden", type=int, default=48)
    parser.add_argument("--samples", type=int, default=1800)
    parser.add_argument("--steps", type=int, default=9000)
    parser.add_argument("--crop", type=int, default=48)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    generator = load_generator(args.generator, report=print)
    with tempfile.TemporaryDirectory() as folder:
        train = examples(generator, args.resolution, args.samples, 1, Path(folder))
        test = examples(generator, args.resolution, min(64, args.samples), 7, Path(folder))
        head = fit(train, args)
        errors = [np.mean((decode(head, f, s) - t) ** 2) / 4 for f, s, t in zip(*test, strict=True)]
    psnr = -10 * np.log10(errors)
    print(f"unseen samples: mean {psnr.mean():.2f} dB, worst {psnr.min():.2f} dB")
    arrays = {name: np.asarray(x, np.float16) for name, x in head._asdict().items()}
    settings = {"resolution": args.resolution, "psnr": round(float(psnr.mean()), 2)}
    metadata = {"architecture": "draft_head", "name": args.generator, "config": settings}
    store.save(args.out, arrays, metadata)


def fit(train, args) -> DraftHead:
    """Adam on random crops, with a warm-up and a cosine decay of the learning rate."""
    features, late, targets = train
    channels, dim = features.shape[-1], late.shape[-1]
    head = init_draft_head(jax.random.key(0), channels, dim, hidden=args.hidden)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, 4e-3, min(100, args.steps // 10), args.steps, 1e-5
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(rate))

    @jax.jit
    def step(head, state, f, s, t):
        def loss(head):
            error = jax.vmap(decode, (None, 0, 0))(head, f, s) - t
            return 100 * jnp.mean(error[:, 2:-2, 2:-2] ** 2)  # without what a crop cannot know

        value, gradient = jax.value_and_grad(loss)(head)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(head, updates), state, value

    state, rng, start = optimizer.init(head), np.random.default_rng(0), time.monotonic()
    crop = min(args.crop, features.shape[1])
    for i in range(args.steps):
        rows = rng.integers(0, len(features), 6)
        corners = rng.integers(0, features.shape[1] - crop + 1, (6, 2))
        places = [(j, y, x) for j, (y, x) in zip(rows, corners, strict=True)]
        f = np.stack([features[j, y : y + crop, x : x + crop] for j, y, x in places])
        t = np.stack([targets[j, 2 * y :, 2 * x :][: 2 * crop, : 2 * crop] for j, y, x in places])
        head, state, value = step(head, state, f, late[rows], t.astype(np.float32))
        if (i + 1) % 500 == 0:
            psnr = -10 * np.log10(float(value) / 400)
            print(f"step {i + 1}: {psnr:.2f} dB, {time.monotonic() - start:.0f} s", flush=True)
    return head


if __name__ == "__main__":
    main()
