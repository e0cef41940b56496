"""Converts the colours of a picture to sRGB, as a colour-managed viewer does.

A file describes its colours by an ICC profile, which LittleCMS applies; by code points (CICP:
ITU-T H.273) in PNG, AVIF and HEIF; or by the gAMA and cHRM chunks of PNG. For the latter two

    linear = transfer^-1(value),   linear sRGB = M linear,   value = sRGB(clip(linear sRGB, 0, 1))

where M maps the primaries to those of sRGB, with Bradford's adaptation between white points. The
curves of BT.709 and BT.601 are taken for sRGB's, as browsers do. HDR (PQ, HLG) is shown at the
reference white of ITU-R BT.2408, 203 cd/m2; what is brighter is clipped.
"""

import functools
import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

Convert = Callable[[np.ndarray], np.ndarray]
"""Maps uint8 [h w c] of the file's channels to uint8 [h w 3] of sRGB."""

MAX_PROFILE_BYTES = 2**24

BAD_PROFILE = "its colour profile is damaged or absurd, so it is taken for sRGB"
OTHER_PROFILE = "its colour profile is for another kind of picture, so it is taken for sRGB"
UNKNOWN_CODES = "its colour code points are unknown, so it is taken for sRGB"
HDR = "it is HDR: what is brighter than the reference white of 203 cd/m2 is clipped"

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_CHANNELS = {"RGB": 3, "L": 1, "CMYK": 4, "LAB": 3}

_SRGB_PRIMARIES = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_D65 = _SRGB_PRIMARIES[:2]
PRIMARIES = {
    1: _SRGB_PRIMARIES,
    2: _SRGB_PRIMARIES,  # unspecified
    4: (0.310, 0.316, 0.67, 0.33, 0.21, 0.71, 0.14, 0.08),
    5: (*_D65, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    7: (*_D65, 0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    8: (0.310, 0.316, 0.681, 0.319, 0.243, 0.692, 0.145, 0.049),
    9: (*_D65, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (*_D65, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    22: (*_D65, 0.630, 0.340, 0.295, 0.605, 0.155, 0.077),
}
"""x and y of white, red, green and blue by H.273's ColourPrimaries."""

_SRGB_CURVES = (1, 2, 6, 11, 12, 13, 14, 15)
_PQ, _HLG = 16, 18


class Codes(NamedTuple):
    """Code points of ITU-T H.273."""

    primaries: int
    transfer: int
    full_range: bool = True


class Colours(NamedTuple):
    """The description of a file's colours; the first that is present holds."""

    codes: Codes | None = None
    profile: bytes | None = None
    is_srgb: bool = False
    gamma: float | None = None
    """Exponent of gAMA: value = light^gamma."""
    primaries: tuple[float, ...] | None = None
    """x and y of white, red, green and blue."""


def conversion(colours: Colours, mode: str) -> tuple[Convert | None, str | None]:
    """The conversion of a picture to sRGB.

    Args:
        colours: The description in the file.
        mode: The channels of the pixels: RGB, L, CMYK or LAB.

    Returns:
        The conversion, None if the pixels are sRGB; and a note for the user, or None.
    """
    if colours.codes is not None and mode in ("RGB", "L"):
        return _by_codes(colours.codes)
    if colours.profile is not None:
        convert, note = _by_profile(colours.profile[: MAX_PROFILE_BYTES + 1], mode)
        if note is None or mode in ("RGB", "L"):
            return convert, note
        return _without_profile(mode), note
    if colours.is_srgb or colours.gamma is None or mode not in ("RGB", "L"):
        return _without_profile(mode), None
    return _by_gamma(colours.gamma, colours.primaries), None


def _without_profile(mode: str) -> Convert | None:
    if mode == "LAB":
        return _transformed(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB", "LAB")
    if mode == "CMYK":
        return lambda pixels: np.array(Image.fromarray(pixels, "CMYK").convert("RGB"))
    return None


@functools.lru_cache(maxsize=16)
def _by_profile(profile: bytes, mode: str) -> tuple[Convert | None, str | None]:
    """The conversion by an ICC profile, which is checked, since damaged ones give any colours."""
    try:
        if len(profile) > MAX_PROFILE_BYTES:
            raise ValueError("too long")
        loaded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        name: str = getattr(loaded.profile, "xcolor_space", "")
        space = _MODES.get(name.strip())
        if space is None or (space != mode and not (mode == "L" and space == "RGB")):
            return None, OTHER_PROFILE
        convert = _transformed(loaded, space, mode)
        if _is_absurd(convert, mode):
            return None, BAD_PROFILE
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, BAD_PROFILE
    if mode in ("RGB", "L") and _is_identity(convert, mode):
        return None, None  # pixels of a JPEG stay those that its header describes
    return convert, None


def _transformed(profile: ImageCms.ImageCmsProfile, space: str, mode: str) -> Convert:
    srgb = ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(profile, srgb, space, "RGB")

    def convert(pixels: np.ndarray) -> np.ndarray:
        if mode == "L":
            pixels = pixels[:, :, 0] if space == "L" else np.repeat(pixels, 3, axis=2)
        image = Image.fromarray(np.ascontiguousarray(pixels), space)
        return np.array(ImageCms.applyTransform(image, transform))

    return convert


def _is_absurd(convert: Convert, mode: str) -> bool:
    """Whether greys do not come out as greys in their order, or primaries without colour."""
    ramp = np.arange(256, dtype=np.uint8)
    if mode == "CMYK":
        ramp = np.stack([0 * ramp, 0 * ramp, 0 * ramp, 255 - ramp], axis=-1)
    elif mode == "LAB":
        ramp = np.stack([ramp, 0 * ramp + 128, 0 * ramp + 128], axis=-1)
    else:
        ramp = np.repeat(ramp[:, None], _CHANNELS[mode], axis=1)
    shown = convert(ramp[None])[0].astype(int)
    if mode == "RGB":
        primaries = convert(255 * np.eye(3, dtype=np.uint8)[None])[0]
        if np.ptp(primaries, axis=1).min() < 48 or np.ptp(shown, axis=1).max() > 64:
            return True
    falls = (np.diff(shown.sum(axis=1)) < -12).any()
    return bool(falls or shown[-1].min() < 160 or shown[0].max() > 127)


def _is_identity(convert: Convert, mode: str) -> bool:
    """Whether a conversion changes no colour by more than rounding."""
    levels = np.linspace(0, 255, 9).round().astype(np.uint8)
    if mode == "L":
        ramp = np.arange(256, dtype=np.uint8)[None, :, None]
        return bool(np.abs(convert(ramp).astype(int) - ramp).max() <= 2)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return bool(np.abs(convert(cube).astype(int) - cube).max() <= 2)


def _by_codes(codes: Codes) -> tuple[Convert | None, str | None]:
    known = codes.transfer in (*_SRGB_CURVES, 4, 5, 8, _PQ, _HLG)
    if codes.primaries not in PRIMARIES or not known:
        return None, UNKNOWN_CODES
    primaries = PRIMARIES[codes.primaries]
    same = codes.transfer in _SRGB_CURVES and codes.primaries in (1, 2) and codes.full_range
    if same:
        return None, None

    def to_linear(values: np.ndarray) -> np.ndarray:
        if not codes.full_range:
            values = np.clip((values * 255 - 16) / 219, 0, 1)
        return _linear(values, codes.transfer)

    note = HDR if codes.transfer in (_PQ, _HLG) else None
    return _by_matrix(to_linear, primaries), note


def _by_gamma(gamma: float, primaries: tuple[float, ...] | None) -> Convert | None:
    """The conversion of a PNG's chunks; none for those that writers put beside sRGB."""
    primaries = _SRGB_PRIMARIES if primaries is None else primaries
    near = np.abs(np.subtract(primaries, _SRGB_PRIMARIES)).max() < 0.005
    if not 0.05 <= gamma <= 20 or (near and abs(gamma - 1 / 2.2) < 0.01):
        return None
    try:
        return _by_matrix(lambda values: values ** (1 / gamma), primaries)
    except np.linalg.LinAlgError:
        return None


def _linear(values: Float[np.ndarray, "*n"], transfer: int) -> Float[np.ndarray, "*n"]:
    """Light of values in [0, 1] under a TransferCharacteristics of H.273; 1 is white."""
    if transfer in (4, 5):
        return values ** (2.2 if transfer == 4 else 2.8)
    if transfer == 8:
        return values
    if transfer == _PQ:  # SMPTE ST 2084
        power = values ** (1 / 78.84375)
        light = np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)
        return 10000 / 203 * light ** (1 / 0.1593017578125)
    if transfer == _HLG:  # ITU-R BT.2100, its system gamma of 1.2 on each channel
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
        white = ((np.exp((0.75 - c) / a) + b) / 12) ** 1.2
        return scene**1.2 / white
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _by_matrix(to_linear: Callable[[np.ndarray], np.ndarray], primaries: tuple) -> Convert:
    matrix = _to_srgb(primaries)
    table = to_linear(np.arange(256) / 255)

    def convert(pixels: UInt8[np.ndarray, "h w c"]) -> UInt8[np.ndarray, "h w 3"]:
        light = table[np.broadcast_to(pixels, (*pixels.shape[:2], 3))]
        light = np.clip(light @ matrix.T, 0, 1)
        shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        return np.rint(255 * shown).astype(np.uint8)

    return convert


def _to_srgb(primaries: tuple[float, ...]) -> Float[np.ndarray, "3 3"]:
    """The matrix from linear light of these primaries to that of sRGB."""
    bradford = np.array(
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
    )
    white, target = (bradford @ _xyz(*chosen[:2]) for chosen in (primaries, _SRGB_PRIMARIES))
    adapt = np.linalg.inv(bradford) @ np.diag(target / white) @ bradford
    return np.linalg.inv(_to_xyz(_SRGB_PRIMARIES)) @ adapt @ _to_xyz(primaries)


def _to_xyz(primaries: tuple[float, ...]) -> Float[np.ndarray, "3 3"]:
    columns = np.stack([_xyz(*primaries[i : i + 2]) for i in (2, 4, 6)], axis=1)
    return columns * np.linalg.solve(columns, _xyz(*primaries[:2]))


def _xyz(x: float, y: float) -> Float[np.ndarray, " 3"]:
    if y <= 0:
        raise np.linalg.LinAlgError("a chromaticity is impossible")
    return np.array([x / y, 1, (1 - x - y) / y])
