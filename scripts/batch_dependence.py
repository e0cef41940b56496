"""How far a result depends on its row and on the size of its batch.

    python scripts/batch_dependence.py INPUT... [--generator NAME] [--steps 100] [--finish-steps 20]

The inputs, of one size, are restored together, then each in the next one's row, then one by one.
Prints the largest difference of styles, and of pictures in levels of 255, against the first run. A
search amplifies rounding, so what begins in the last bits can end as another, equally good result.
"""

import jax
import numpy as np
import tyro

import perceptual_jax as pj


def main(
    inputs: tyro.conf.Positional[tuple[str, ...]],
    /,
    *,
    generator: str = "mobilestylegan-ffhq",
    steps: int = 100,
    finish_steps: int = 20,
) -> None:
    settings = {"search.steps": steps, "finish.steps": finish_steps, "degradation": "l2"}
    settings["features.steps"] = steps // 20 * 10
    config = pj.override(pj.load_config("default"), settings)
    network = pj.load_generator(generator, report=print)
    degraded = np.stack([pj.to_float(pj.read_image(path)) for path in inputs])
    n, prior = len(degraded), pj.default_prior(network, config)

    def restored(order: np.ndarray, batch_size: int) -> pj.Restoration:
        keys = jax.random.split(jax.random.key(0), n)
        result = pj.restore_batch(
            network, degraded[order], config, keys=keys[order], prior=prior, batch_size=batch_size
        )
        return jax.tree.map(lambda x: x[np.argsort(order)], result)

    order = np.arange(n)
    first = restored(order, n)
    cases = {"again": (order, n), "another row": (np.roll(order, 1), n), "alone": (order, 1)}
    for name, case in cases.items():
        other = restored(*case)
        styles = np.abs(other.styles - first.styles).max()
        levels = 127.5 * np.abs(other.image - first.image)
        fit = np.abs(other.fit.consistency_psnr - first.fit.consistency_psnr).max()
        print(
            f"{name}: styles differ by {styles:.1e}, pictures by {levels.max():.0f} levels of 255 "
            f"({levels.mean():.2f} in the mean), consistency by {fit:.2f} dB"
        )


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
