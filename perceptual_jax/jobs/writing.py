"""The files that a job writes for each picture, and how a resumed job finds the finished ones.

    NAME.png    the restored picture; with samples NAME_s00.png, NAME_s01.png, ..., NAME_spread.png
    NAME.npz    styles [k d] and best_step, with samples [s k d] and [s]; offset [r r c] of the
                features if they were moved; noise maps if drawn; trace_TERM [t] or [s t], the value
                of each term at every step
    NAME.json   the record

The faces of a photograph have names with its folder, `NAME/face-1`, and stay PNG in any job, since
they are put back into it.

The record is written last, so a picture is finished if and only if its record and the files that
it names exist. `results.jsonl` gathers the records, one line for each input, failures included; a
job appends whole lines to it and at its end puts them in the order of the inputs.
"""

import hashlib
import importlib.metadata
import platform
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import UInt8

from perceptual_jax.config import NoiseConfig, RestoreConfig
from perceptual_jax.config_files import to_toml
from perceptual_jax.io.encoding import Encoding
from perceptual_jax.io.files import (
    Place,
    load_json,
    printable,
    save_json,
    save_npz,
    write_atomically,
)
from perceptual_jax.io.images import to_uint8, write_png
from perceptual_jax.jobs.log import Record
from perceptual_jax.jobs.reading import Picture
from perceptual_jax.types import Generator, Restoration, Status

DERIVED = re.compile(r"_(nll|spread|s\d\d+)$")
"""The end of a stem that is appended to a name for its maps and samples, see `io.names`."""


TRACE = "trace_"
"""Prefix of the arrays that hold the terms of all steps."""


class Output(NamedTuple):
    """The files that restored pictures are written to."""

    encoding: Encoding = Encoding()
    suffix: str = ""

    def __str__(self) -> str:
        """The format, its quality, and the suffix if there is one."""
        return f"{self.encoding} {self.suffix}".rstrip()

    def of(self, name: str) -> "Output":
        """That of an input: faces of photographs stay PNG, without a suffix."""
        return Output() if "/" in name else self

    def images(self, name: str, samples: int) -> list[str]:
        """The names of the restored pictures of an input."""
        if self != self.of(name):
            return self.of(name).images(name, samples)
        end = self.encoding.extension
        if samples == 1:
            return [f"{name}{self.suffix}{end}"]
        return [f"{name}{self.suffix}_s{i:02d}{end}" for i in range(samples)]

    def files(self, name: str, samples: int) -> list[str]:
        """The names of all files that a job may write for an input."""
        ends = ("_nll.png", "_spread.png", ".npz", ".json")
        return [*self.images(name, samples), *(f"{name}{end}" for end in ends)]


AS_PNG = Output()


class Settings(NamedTuple):
    """All that determines a result besides the picture; equal settings give equal results."""

    config_sha256: str
    """SHA-256 of the config as TOML."""
    generator_sha256: str
    """SHA-256 of the generator's weights, see `generator_sha256`."""
    degradation_sha256: str
    """SHA-256 of the learned data terms that may be used, see `models.files_sha256`."""
    seed: int
    samples: int
    output: str = "png"
    """Format, quality and suffix of the restored pictures, see `Output`."""


def settings_of(
    config: RestoreConfig,
    generator: Generator,
    *,
    degradation_sha256: str,
    seed: int,
    samples: int,
    output: "Output",
) -> Settings:
    """Collects the settings of a job, with the hashes of the config and the generator."""
    config_sha256 = hashlib.sha256(to_toml(config).encode("utf-8", "surrogateescape")).hexdigest()
    generator_hash = generator_sha256(generator)
    return Settings(config_sha256, generator_hash, degradation_sha256, seed, samples, str(output))


def generator_sha256(generator: Generator) -> str:
    """SHA-256 of a generator's weights: of the path, dtype, shape and bytes of every array."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(generator):
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def environment() -> Record:
    """Versions and devices, which can change the last digits of a result."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    versions = {"perceptual_jax": importlib.metadata.version("perceptual-jax")}
    versions |= {name: importlib.metadata.version(name) for name in packages}
    device = jax.devices()[0]
    return {
        "versions": versions | {"python": platform.python_version()},
        "device": f"{jax.device_count()} x {device.platform} ({device.device_kind})",
    }


def write_result(
    out: Place,
    picture: Picture,
    result: Restoration,
    noise: NoiseConfig,
    fields: Record,
    *,
    redone: bool = True,
    output: Output = AS_PNG,
) -> Record:
    """Writes the files of one picture, its record last, replacing those of an earlier job.

    Args:
        out: The job's folder.
        picture: The input.
        result: Its restorations, one for each sample, along the first axis.
        noise: The noise settings; the generator's own noise maps are not written.
        fields: Further fields of the record: settings, versions, seconds.
        redone: Whether there may be a result of this name by an earlier job.
        output: Format and names of the pictures.

    Returns:
        The record.

    Raises:
        WriteError: If a file cannot be written. The picture is then not finished.
    """
    name = picture.input.name
    record_path = out / f"{name}.json"
    earlier = []
    if redone:
        earlier = (load_json(record_path) or {}).get("files", [])
        record_path.unlink(missing_ok=True)
    samples = len(result.image)
    images = output.images(name, samples)
    files = [*images]
    for file, image in zip(images, result.image, strict=True):
        write_atomically(out / file, output.of(name).encoding.encode(to_uint8(image), "restored"))
    record = describe(picture, result, images=images) | fields
    if samples > 1:
        spread = spread_map(np.asarray(result.image))
        files.append(f"{name}_spread.png")
        white = white_of(spread)
        write_png(out / files[-1], grey(spread, white), kind="map")
        record["spread"] = {"mean": spread.mean(), "max": spread.max(), "white": white}
    if result.fit.bits is not None:
        files.append(f"{name}_nll.png")
        side = picture.pixels.shape[0]
        bits_per_dim = np.asarray(result.fit.bits[0, :side, :side])
        white = white_of(bits_per_dim, least=1.0)
        write_png(out / files[-1], grey(bits_per_dim, white), kind="map")
        record["nll_map"] = {"mean": bits_per_dim.mean(), "white": white}
    files.append(f"{name}.npz")
    save_npz(out / files[-1], arrays_of(result, noise))
    record["files"] = files
    save_json(record_path, record)
    remove_replaced(out, name, set(earlier) - set(files))
    return record


def remove_replaced(out: Place, name: str, files: Iterable[str]) -> None:
    """Removes the files of an input's earlier result that its new one has not replaced.

    Args:
        out: The job's folder.
        name: The name of the input.
        files: The files by the earlier record; only pictures and maps of this name are removed,
            whatever a damaged record says.
    """
    for file in files:
        if re.fullmatch(re.escape(name) + r"([._-][^/\\]*)?\.(png|jpg|webp)", file):
            (out / file).unlink(missing_ok=True)


def spread_map(images: np.ndarray) -> np.ndarray:
    """Standard deviation of each pixel over samples [s h w c] in [-1, 1], as [h w].

    Root of the variance averaged over channels, in units of the range of values: 0 where all
    samples agree, 0.5 where half of them are black and half white.

    Example:
        >>> spread_map(np.stack([np.ones((1, 1, 3)), -np.ones((1, 1, 3))])).item()
        0.5
    """
    return np.sqrt(images.var(axis=0).mean(axis=-1)) / 2


def white_of(values: np.ndarray, *, least: float = 0.0) -> float:
    """The value of a map that is shown as white: that of all but one in a hundred pixels.

    A few pixels of hair differ so much that, scaled by the maximum, the rest would be black.

    Args:
        values: The map.
        least: Smallest value that is shown as white.
    """
    return max(float(np.quantile(values, 0.99)), least)


def grey(values: np.ndarray, white: float) -> UInt8[np.ndarray, "h w 3"]:
    """Maps values to grey: 0 to black, `white` and above to white."""
    fraction = values / max(white, 1e-12)
    return to_uint8(np.repeat(fraction[:, :, None] * 2 - 1, 3, axis=2))


def describe(picture: Picture, result: Restoration, *, images: Sequence[str] = ()) -> Record:
    """The record of a picture, without the fields of its job and the names of its other files.

    Args:
        picture: The input.
        result: Its restorations, one for each sample, along the first axis.
        images: The names of the restored pictures; none if they are not written.
    """
    restorations = []
    for i in range(len(result.image)):
        restorations.append(
            ({"image": images[i]} if images else {})
            | {
                "status": Status(result.status[i]).name,
                "terms": {k: float(v[i]) for k, v in result.terms.items() if not np.isnan(v[i])},
                "consistency_psnr": float(result.fit.consistency_psnr[i]),
                "best_step": int(result.best_step[i]),
            }
        )
        if result.fit.blur is not None and result.fit.noise is not None:
            fitted = {"blur": float(result.fit.blur[i]), "noise": float(result.fit.noise[i])}
            restorations[-1] |= {"fitted": fitted}
    worst = Status(max(result.status))
    height, width, _ = picture.pixels.shape
    return {
        "name": picture.input.name,
        "status": worst.name,
        "message": worst.message,
        "input": {
            "path": printable(picture.input.path),
            "sha256": picture.sha256,
            "size": list(picture.size),
            "restored_from": [width, height],
            "notes": list(picture.notes),
        },
        "degradation": {
            "term": picture.header_info.degradation,
            "reason": picture.header_info.reason,
        },
        "restorations": restorations,
    }


def arrays_of(result: Restoration, noise: NoiseConfig) -> dict[str, np.ndarray]:
    """The arrays of a result's `.npz` file, see `latents` and `traces`."""
    return latents(result, noise) | traces(result)


def latents(result: Restoration, noise: NoiseConfig) -> dict[str, np.ndarray]:
    """The latents that reproduce a picture.

    The styles; the offset of features if they were moved; noise maps unless they are the
    generator's.

    Args:
        result: Restorations of one picture along the first axis, which a single one drops.
        noise: The noise settings of the job.
    """
    arrays = {"styles": result.styles, "best_step": result.best_step}
    if result.offset is not None:
        arrays["offset"] = result.offset
    if noise != NoiseConfig():
        arrays |= {f"noise{i:02d}": maps for i, maps in enumerate(result.noise)}
    one = len(result.image) == 1
    return {name: np.asarray(x[0] if one else x) for name, x in arrays.items()}


def traces(result: Restoration) -> dict[str, np.ndarray]:
    """The terms at every step of a search, by their names with the prefix `trace_`.

    Args:
        result: Restorations of one picture along the first axis, which a single one drops. A term
            is NaN in stages that do not evaluate it.
    """
    one = len(result.image) == 1
    named = {f"{TRACE}{name}": np.asarray(values) for name, values in result.trace.items()}
    return {name: values[0] if one else values for name, values in named.items()}


def failure_record(name: str | None, source: str | Place, message: str) -> Record:
    """The record of an input that could not be restored; the name is None if it has none."""
    origin = {"path": printable(source)}
    return {"name": name, "status": "FAILED", "message": message, "input": origin}
