"""NIQE and BRISQUE in float64, one block and one value at a time, by the authors' formulas."""

import numpy as np
from scipy import ndimage
from scipy.special import gamma

SHAPES = np.arange(200, 10_001) / 1000
RATIOS = gamma(2 / SHAPES) ** 2 / (gamma(1 / SHAPES) * gamma(3 / SHAPES))


def window():
    line = np.exp(-0.5 * (np.arange(-3, 4) / (7 / 6)) ** 2)
    return np.outer(line, line) / np.outer(line, line).sum()


def mscn(image, constant, mode):
    mean = ndimage.correlate(image, window(), mode=mode)
    square = ndimage.correlate(image**2, window(), mode=mode)
    deviation = np.sqrt(np.abs(square - mean**2))
    difference = image - mean
    difference[np.abs(difference) < 1e-9] = 0  # rounding, which has no sign
    return difference / (deviation + constant)


def fit(values, zero_is_positive):
    values = values.ravel()
    positive = values >= 0 if zero_is_positive else values > 0
    if not positive.any() or not (values < 0).any():
        return SHAPES[0], np.nan, np.nan
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[positive] ** 2))
    skew = left / right
    ratio = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    ratio *= (skew**3 + 1) * (skew + 1) / (skew**2 + 1) ** 2
    return SHAPES[np.argmin((RATIOS - ratio) ** 2)], left, right


def mean_of(shape, left, right):
    factor = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    return (right - left) * factor * gamma(2 / shape) / gamma(1 / shape)


def niqe(image, pristine):
    levels = (np.asarray(image, np.float64) + 1) / 2
    luma = np.round(levels @ np.array([65.481, 128.553, 24.966]) + 16)
    rows, columns = luma.shape[0] // 96, luma.shape[1] // 96
    luma = luma[: rows * 96, : columns * 96]
    scales = []
    for size in (96, 48):
        z = mscn(luma, 1, "nearest")
        blocks = [
            z[i * size : (i + 1) * size, j * size : (j + 1) * size]
            for i in range(rows)
            for j in range(columns)
        ]
        scales.append([niqe_block(block) for block in blocks])
        luma = half_of_matlab(luma)
    statistics = np.concatenate(scales, axis=1)
    difference = pristine.mean - np.nanmean(statistics, axis=0)
    whole = statistics[np.isfinite(statistics).all(axis=1)]
    pooled = (pristine.covariance + np.cov(whole, rowvar=False)) / 2
    return np.sqrt(difference @ np.linalg.pinv(pooled) @ difference)


def niqe_block(block):
    shape, left, right = fit(block, False)
    factor = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    found = [shape, factor * (left + right) / 2]
    for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = fit(block * np.roll(block, shift, axis=(0, 1)), False)
        factor = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        found += [shape, mean_of(shape, left, right), factor * left, factor * right]
    return found


def half_of_matlab(luma):
    """Each pixel as the cubic mean of eight, mirrored at the border."""
    size = luma.shape[0] // 2, luma.shape[1] // 2
    matrices = []
    for n, half in zip(luma.shape, size, strict=True):
        matrix = np.zeros((half, n))
        for i in range(half):
            for j in range(-4, n + 4):
                d = abs((j - (2 * i + 0.5)) / 2)
                inner = 1.5 * d**3 - 2.5 * d**2 + 1
                outer = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
                weight = inner if d <= 1 else outer if d < 2 else 0
                matrix[i, -1 - j if j < 0 else min(j, 2 * n - 1 - j)] += weight
        matrices.append(matrix / matrix.sum(axis=1, keepdims=True))
    return matrices[0] @ luma @ matrices[1].T


def brisque(image, regression):
    levels = (np.asarray(image, np.float64) + 1) / 2
    luma = levels @ np.array([0.2125, 0.7154, 0.0721])
    x = np.array(brisque_scale(luma) + brisque_scale(half_of_opencv(luma)))
    x = -1 + 2 * (x - regression.low) / (regression.high - regression.low)
    total = -regression.rho
    for weight, vector in zip(regression.weights, regression.vectors, strict=True):
        total += weight * np.exp(-regression.gamma * np.sum((vector - x) ** 2))
    return total


def brisque_scale(luma):
    z = mscn(luma, 1 / 255, "constant")
    shape, left, right = fit(z, True)
    found = [shape, (left**2 + right**2) / 2]
    for a, b in (
        (z[:, :-1], z[:, 1:]),
        (z[:-1], z[1:]),
        (z[:-1, :-1], z[1:, 1:]),
        (z[1:, :-1], z[:-1, 1:]),
    ):
        shape, left, right = fit(a * b, True)
        found += [shape, mean_of(shape, left, right), left**2, right**2]
    return found


def half_of_opencv(luma):
    for axis in (0, 1):
        n = luma.shape[axis]
        rows = np.moveaxis(luma, axis, 0)
        half = np.zeros((round(n / 2), *rows.shape[1:]))
        for i in range(len(half)):
            for offset in range(-1, 3):
                d = abs(offset - 0.5)
                a = -0.75
                inner = (a + 2) * d**3 - (a + 3) * d**2 + 1
                outer = a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
                weight = inner if d <= 1 else outer
                half[i] += weight * rows[min(max(2 * i + offset, 0), n - 1)]
        luma = np.moveaxis(half, 0, axis)
    return luma
