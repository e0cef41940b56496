"""Loads a generator from a name of the catalogue, a weights file, or a foreign checkpoint.

Only this file maps architectures to classes.
"""

import hashlib
import importlib.resources
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp

from perceptual_jax.checkpoints import catalogue, fetch, store
from perceptual_jax.checkpoints.catalogue import Entry, UnknownGeneratorError, WeightsError
from perceptual_jax.checkpoints.describe import describe
from perceptual_jax.checkpoints.foreign.convert import convert_file
from perceptual_jax.checkpoints.regular import open_regular
from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.errors import UsageError
from perceptual_jax.generator.draft import DraftHead
from perceptual_jax.generator.mobilestylegan import MobileStyleGAN
from perceptual_jax.generator.stylegan2 import StyleGAN2, StyleGAN2Config
from perceptual_jax.io.files import cache_folder
from perceptual_jax.types import Generator

_CONVERSION = 2
"""Version of the conversion of people's own files; those cached by another are not used."""


def load_generator(
    name_or_path: str | Path,
    *,
    report: fetch.Report | None = None,
    dtype: Literal["float32", "bfloat16"] = "float32",
    class_index: int | None = None,
    entries: Sequence[Entry] = catalogue.ENTRIES,
) -> Generator:
    """The generator of this name, fetched on first use, or the one stored in this file.

    Args:
        name_or_path: A name of the catalogue, or the path of a converted file or of a checkpoint
            (see `readers`), which is converted once. Names take precedence over paths.
        report: Called with lines for the user while a generator is fetched or converted.
        dtype: Dtype of the activations.
        class_index: The class of a conditional generator, from 0, which becomes an unconditional
            one; None leaves it conditional: its `mapping(z, label)` takes a label.
        entries: The catalogue.

    Raises:
        UsageError: If there is no such class, or the generator is not conditional.
        WeightsError: If there is no such name or file, it cannot be fetched, or the file is not
            one of this project's or does not hold a whole generator.
    """
    path = generator_path(name_or_path, report=report, entries=entries)
    arrays, metadata = store.load(path)
    heads = draft_heads(metadata.get("name", "")) | _heads_beside(path)
    try:
        generator = _build(arrays, metadata, heads, dtype)
    except KeyError as error:
        raise WeightsError(f"{path} does not hold a whole generator: it has no {error}") from None
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{path} does not hold a generator: {error}") from None
    return generator if class_index is None else choose_class(generator, class_index)


def choose_class(generator: Generator, class_index: int | Literal["none"] | None) -> Generator:
    """The unconditional generator of a class; an unconditional generator as it is.

    Args:
        generator: Any generator; a conditional one has `c_dim`, its number of classes, and
            `of_class`.
        class_index: The class, from 0; None or "none" if none was chosen.

    Raises:
        UsageError: If the generator is conditional and no class or none of its own was chosen, or
            if it is not conditional and one was.
    """
    classes = getattr(generator, "c_dim", 0)
    given = None if class_index == "none" else class_index
    if not classes:
        if given is not None:
            raise UsageError(
                f"the generator is not conditional, so class {given} cannot be chosen; leave "
                "--class (generator_class in a config) out"
            )
        return generator
    which = f"--class (generator_class in a config) from 0 to {classes - 1}"
    count = f"{classes} class{'es' * (classes != 1)}"
    if given is None:
        raise UsageError(f"the generator is conditional on {count}; choose one by {which}")
    if not 0 <= given < classes:
        raise UsageError(f"the generator has {count}; choose {which}, got {given}")
    conditional: Any = generator
    return conditional.of_class(given)


def generator_path(
    name_or_path: str | Path,
    *,
    report: fetch.Report | None = None,
    entries: Sequence[Entry] = catalogue.ENTRIES,
) -> Path:
    """Path of a generator's weights file, fetched by name or converted from a checkpoint if needed.

    A conversion is cached under the hash of the checkpoint's content.

    Args:
        name_or_path: As in `load_generator`.
        report: Called with lines for the user while a generator is fetched or converted.
        entries: The catalogue.

    Raises:
        WeightsError: If there is no such name or file, or it cannot be fetched.
    """
    known = [entry.name for entry in entries]
    if name_or_path in known:
        return fetch.ensure(str(name_or_path), report=report, entries=entries)
    path = Path(name_or_path)
    if not os.path.exists(path):  # unlike pathlib's, False for a name that is too long
        raise UnknownGeneratorError(
            f"there is no generator or file {str(name_or_path)!r}; "
            f"known generators are {', '.join(known)}"
        )
    return path if _is_ours(path) else _converted(path, report or (lambda line: None))


def _is_ours(path: Path) -> bool:
    """Whether the file belongs to this project, damaged or not, and needs no conversion."""
    try:
        store.inspect(path)
    except store.NotOursError:
        return False
    except WeightsError:
        return path.suffix == ".safetensors"
    return True


def _converted(path: Path, report: fetch.Report) -> Path:
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WeightsError(f"cannot read {path} ({reason})") from None
    folder = cache_folder() / "weights" / "converted"
    out = folder / f"{digest[:32]}-{_CONVERSION}.safetensors"
    if not out.exists():
        report(f"converting {path}; this takes some seconds, once")
        out.parent.mkdir(parents=True, exist_ok=True)
        report(f"stored {out}: {describe(convert_file(path, out))}")
    return out


def draft_heads(name: str) -> dict[int, Arrays]:
    """The draft heads shipped for a generator, by resolution; empty if there are none.

    Heads that a user fitted lie beside the generator's file (`draft_path`) and replace these.

    Args:
        name: A name of the catalogue. The heads lie in `draft/{name}-{resolution}.safetensors`.
    """
    heads = {}
    folder = importlib.resources.files("perceptual_jax.checkpoints") / "draft"
    for file in folder.iterdir() if folder.is_dir() else ():
        stem, _, resolution = file.name.removesuffix(".safetensors").rpartition("-")
        if stem == name and resolution.isdecimal():
            with importlib.resources.as_file(file) as path:
                heads[int(resolution)] = store.load(path).arrays
    return heads


def draft_path(generator: Path, resolution: int) -> Path:
    """Path of the draft head that was fitted to a generator's file, in the same folder."""
    return generator.with_name(f"{generator.stem}-draft-{resolution}.safetensors")


def _heads_beside(generator: Path) -> dict[int, Arrays]:
    paths = {2**i: draft_path(generator, 2**i) for i in range(2, 11)}
    return {r: store.load(path).arrays for r, path in paths.items() if path.exists()}


def _build(
    arrays: Arrays, metadata: dict[str, Any], heads: dict[int, Arrays], dtype: str
) -> Generator:
    match metadata["architecture"]:
        case "mobilestylegan":
            return MobileStyleGAN.from_arrays(arrays, draft_heads=heads, dtype=jnp.dtype(dtype))
        case "stylegan2":
            settings = metadata["config"] | {"dtype": dtype}
            for name in ("channels", "resample_filter"):
                if isinstance(settings.get(name), list):
                    settings[name] = tuple(settings[name])
            built = {r: DraftHead.from_arrays(head) for r, head in heads.items()}
            return StyleGAN2(StyleGAN2Config(**settings), arrays, draft_heads=built)
        case other:
            raise ValueError(f"unknown architecture {other!r}")
