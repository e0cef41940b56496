"""The resampling filter of a network, from its buffers or its settings.

    nvidia                  resample_filter of each block and up-convolution, sum 1
    rosinality              blur.kernel of up-convolutions, upsample.kernel of to_rgbs, sum 4
    tensorflow              the setting resample_kernel
    clean                   none: features and images are interpolated bilinearly
    basicsr, flaxmodels     none is stored; theirs is [1 3 3 1]

A filter that is stored as a matrix is the outer product of its taps with themselves. The projects
normalise filters to sum 1 before they use or store them, so the sum in the file has no meaning.

Source: the public code of each project.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from perceptual_jax.checkpoints.untrusted.inert import CheckpointError, safe_repr
from perceptual_jax.generator.filters import USUAL, Filter

FILTERS = ("resample_filter", "blur.kernel", "upsample.kernel")
"""Ends of the names of filters."""

_USED = re.compile(
    r"synthesis\.b(?!4\.)\d+\.(conv0\.)?resample_filter"
    r"|convs\.\d+\.conv\.blur\.kernel|to_rgbs\.\d+\.upsample\.kernel"
)
_MOST_TAPS = 16


class FilterError(CheckpointError):
    """A network resamples in a way that is not supported."""


def resample_filter(
    arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any], naming: str
) -> Filter:
    """The taps of a network's filter, the usual ones as [1 3 3 1], or "bilinear".

    Args:
        arrays: Arrays of the network, by the names in its file.
        attributes: Plain attributes of the network.
        naming: Naming scheme of the arrays.

    Raises:
        FilterError: If a filter is not the outer product of taps, or there are several.
    """
    if naming == "clean":
        return "bilinear"
    found = {name: value for name, value in arrays.items() if _USED.fullmatch(name)}
    found |= {
        name: np.asarray(value, np.float64)
        for name, value in attributes.items()
        if name.endswith("resample_kernel") and isinstance(value, list | tuple)
    }
    filters = {name: _taps(name, value) for name, value in found.items()}
    distinct = list(dict.fromkeys(filters.values()))
    if len(distinct) > 1:
        raise FilterError(
            "the network resamples with several filters, "
            f"{' and '.join(map(in_words, distinct[:3]))}, and only one for all layers is served"
        )
    return distinct[0] if distinct else USUAL


def in_words(taps: Filter) -> str:
    """A filter for the user: its taps over the smallest of them.

    Example:
        >>> in_words((0.125, 0.375, 0.375, 0.125)), in_words("bilinear")
        ('[1 3 3 1]', 'bilinear')
    """
    if isinstance(taps, str):
        return taps
    least = min(abs(x) for x in taps if x)
    return f"[{' '.join(f'{x / least:.4g}' for x in taps)}]"


def _taps(name: str, value: np.ndarray) -> tuple[float, ...]:
    """The taps of a stored filter, of sum 1; rounded, since float16 files round them as well."""
    filter = np.asarray(value, np.float64)
    square = filter.ndim == 2 and filter.shape[0] == filter.shape[1]
    total = filter.sum()
    if not (filter.ndim == 1 or square) or not 1 <= len(filter) <= _MOST_TAPS:
        raise FilterError(
            f"the network resamples with a filter of shape {filter.shape}, {safe_repr(name)}, "
            "which is not supported"
        )
    if not np.isfinite(filter).all() or abs(total) < 1e-6 * np.abs(filter).sum() or not total:
        raise FilterError(f"the network's filter {safe_repr(name)} has no finite sum to divide by")
    filter = filter / total
    taps = filter.sum(axis=0) if square else filter
    if square and np.abs(np.outer(taps, taps) - filter).max() > 2e-3 * np.abs(filter).max():
        raise FilterError(
            f"the network resamples with a filter that is no outer product, {safe_repr(name)}, "
            "which is not supported"
        )
    if len(taps) == 4 and np.allclose(taps, np.asarray(USUAL) / 8, atol=1e-3):
        return USUAL
    return tuple(round(float(x), 6) for x in taps)
