"""Text descriptions of checkpoints and converted generators, for the user."""

import contextlib
from pathlib import Path

from perceptual_jax.checkpoints import store
from perceptual_jax.checkpoints.catalogue import WeightsError
from perceptual_jax.checkpoints.foreign.convert import Converted, convert
from perceptual_jax.checkpoints.foreign.selection import generators
from perceptual_jax.checkpoints.untrusted.inert import CheckpointError
from perceptual_jax.checkpoints.untrusted.readers import Checkpoint, read_checkpoint


def describe(converted: Converted) -> str:
    """Describes a converted generator in one line."""
    config, about = converted.config, converted.about
    if converted.architecture == "mobilestylegan":
        return f"MobileStyleGAN, {config['resolution']} px, W of {config['w_dim']}"
    words = [f"StyleGAN2, {4 * 2 ** (len(config['channels']) - 1)} px"]
    words.append(f"channels {' '.join(map(str, config['channels']))}")
    words.append(f"W of {config['w_dim']}, mapping of {config['mapping_layers']} layers")
    if config["c_dim"]:
        count = config["c_dim"]
        words.append(f"conditional on {count} class{'es' * (count != 1)}")
    if config["conv_clamp"]:
        words.append(f"clamped to {config['conv_clamp']:g}")
    if "resample_filter" in about:
        filter = about["resample_filter"]
        words.append("resampled " + ("bilinearly" if filter == "bilinear" else f"by {filter}"))
    if "noise" in about:
        words.append(f"noise {about['noise']}")
    if "w_mean" in about:
        words.append(f"mean of W {about['w_mean']}")
    return ", ".join(words)


def inspect_file(path: Path) -> list[str]:
    """Describes the content of a file in lines for the user; nothing is written.

    Raises:
        CheckpointError: If it cannot be read.
    """
    size = path.stat().st_size if path.exists() else 0
    with contextlib.suppress(WeightsError):
        metadata = store.inspect(path)
        name = metadata.get("name", "no name of the catalogue")
        return [
            f"{path}: a file of perceptual_jax, {metadata['architecture']}, {name}, {size:,} bytes",
            f"  {metadata['config']}",
        ]
    checkpoint = read_checkpoint(path)
    lines = [f"{path}: {checkpoint.format}, {size:,} bytes"]
    for name, network in checkpoint.networks.items():
        count = sum(value.size for value in network.arrays.values())
        what = _content(checkpoint._replace(networks={"": network}))
        lines.append(f"  {name or 'the network'}: {network.kind}, {count:,} numbers; {what}")
    return lines


def _content(alone: Checkpoint) -> str:
    """What a network of a checkpoint is, given as the only one."""
    reasons = []
    for which in ("ema", "raw"):
        try:
            return describe(convert(alone, which=which))
        except CheckpointError as error:
            reasons.append(str(error))
    served = any(True for _ in generators(alone))
    return reasons[0] if served else "no generator that is served"
