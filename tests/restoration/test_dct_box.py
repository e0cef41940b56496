import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from perceptual_jax.degradation.corruptions import jpeg
from perceptual_jax.restoration.data_terms.dct_box import DctBox
from perceptual_jax.types import Given, JpegHeader
from tests.helpers.pictures import as_float, picture

evaluate = jax.jit(DctBox().evaluate)


@jax.jit
def prepare(image, header):
    return DctBox().prepare(Given(image, header), 64)


def box_of(image, quality, sampling):
    file = jpeg(image, quality=quality, subsampling=sampling)
    return prepare(jnp.asarray(as_float(file.image)), file.header)


def coefficients(data):
    """The quantised coefficients [r s 8 8] of each plane that a baseline JPEG holds."""
    # Diagonals by turns down and up.
    zigzag = sorted(
        range(64), key=lambda i: (i // 8 + i % 8, i // 8 * (-1) ** (i // 8 + i % 8 + 1))
    )
    codes, at = {}, 2
    marker = None
    while marker != 0xDA:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        body, at = data[at + 4 : at + 2 + size], at + 2 + size
        if marker == 0xC0:
            height, width = int.from_bytes(body[1:3]), int.from_bytes(body[3:5])
            factors = [divmod(body[7 + 3 * i], 16)[::-1] for i in range(body[5])]
        while marker == 0xC4 and body:
            code, used = 0, 17
            for length in range(1, 17):
                for _ in range(body[length]):
                    codes[body[0], length, code] = body[used]
                    code, used = code + 1, used + 1
                code *= 2
            body = body[used:]
    tables = [body[2 + 2 * i] for i in range(body[0])]
    scan = np.frombuffer(data[at:-2].replace(b"\xff\x00", b"\xff"), np.uint8)
    bits = iter(np.unpackbits(scan).tolist())

    def symbol(table):
        code = 0
        for length in range(1, 17):
            code = 2 * code + next(bits)
            if (table, length, code) in codes:
                return codes[table, length, code]
        raise AssertionError("no such code")

    def number(n):
        value = sum(next(bits) << (n - 1 - i) for i in range(n))
        return value if n == 0 or value >> (n - 1) else value - (1 << n) + 1

    rows, columns = -(-height // (8 * factors[0][0])), -(-width // (8 * factors[0][1]))
    planes = [np.zeros((rows * v, columns * h, 64)) for v, h in factors]
    before = [0] * len(planes)
    for cell, i in itertools.product(range(rows * columns), range(len(planes))):
        v, h = factors[i]
        for k in range(v * h):
            block = planes[i][cell // columns * v + k // h, cell % columns * h + k % h]
            before[i] += number(symbol(tables[i] >> 4))
            block[0], z = before[i], 1
            while z < 64 and (both := symbol(16 + (tables[i] & 15))):
                z += both >> 4
                block[zigzag[z]] = number(both & 15) if both & 15 else 0
                z += 1
    return [plane.reshape(*plane.shape[:2], 8, 8) for plane in planes]


@pytest.mark.parametrize("sampling", [0, 1, 2])
@pytest.mark.parametrize(("quality", "wrong"), [(10, 0.0005), (50, 0.002), (90, 0.025)])
def test_the_coefficients_are_those_in_the_file(sampling, quality, wrong):
    file = jpeg(picture(1), quality=quality, subsampling=("4:4:4", "4:2:2", "4:2:0")[sampling])
    cache = prepare(jnp.asarray(as_float(file.image)), file.header)
    for plane, true in enumerate(coefficients(file.encoded)):
        found = cache.coefficients[0 if plane == 0 else 3 * plane - 2 + sampling]
        found = np.asarray(found) / file.header.tables[min(plane, 1)]
        rows, columns = true.shape[:2]
        assert np.abs(true).max() > 2
        assert np.mean(np.rint(found[:rows, :columns]) != true) <= wrong


@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [10, 40])
def test_the_original_lies_in_its_own_box_and_others_do_not(sampling, quality):
    image = picture(1)
    cache = box_of(image, quality, sampling)
    own, _ = evaluate(cache, jnp.asarray(as_float(image)))
    shifted, _ = evaluate(cache, jnp.asarray(as_float(np.roll(image, 2, axis=1))))
    other, _ = evaluate(cache, jnp.asarray(as_float(picture(2))))
    # Not quite zero: the decoder's smoothing of chroma and its clipping move some coefficients.
    assert own < 1e-6
    assert shifted > max(300 * own, 1e-4)
    assert other > shifted


def test_the_map_says_where_it_comes_from():
    image = picture(1)
    cache = box_of(image, 20, "4:2:0")
    wrong = image.copy()
    wrong[16:32, 32:48] = 255 - wrong[16:32, 32:48]
    value, where = evaluate(cache, jnp.asarray(as_float(wrong)))
    np.testing.assert_allclose(jnp.mean(where), value, rtol=1e-5)
    assert float(where[16:32, 32:48].sum() / where.sum()) > 0.95


def test_the_gradient_is_that_of_differences_and_zero_inside():
    image = picture(4, 32, 32)
    file = jpeg(image, quality=30, subsampling="4:2:0")
    with jax.enable_x64(True):
        cache = prepare(jnp.asarray(file.image / 127.5 - 1), file.header)
        x = jnp.asarray(picture(5, 32, 32) / 127.5 - 1)
        direction = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))

        def value(x):
            return evaluate(cache, x)[0]

        slope = jnp.sum(jax.jit(jax.grad(value))(x) * direction)
        e = 1e-5
        difference = (value(x + e * direction) - value(x - e * direction)) / (2 * e)
        np.testing.assert_allclose(slope, difference, rtol=1e-4)
    grey = jnp.zeros((16, 16, 3))
    header = file.header
    box = prepare(grey, header)
    inside = jax.jit(jax.grad(lambda x: evaluate(box, x)[0]))(grey + 0.01)
    np.testing.assert_array_equal(inside, 0)


def test_larger_pictures_are_averaged_and_headers_batched():
    images = [picture(i, 32, 32) for i in range(2)]
    files = [
        jpeg(x, quality=20, subsampling=s) for x, s in zip(images, ("4:2:0", "4:4:4"), strict=True)
    ]
    headers = JpegHeader(*(jnp.stack(x) for x in zip(*(f.header for f in files), strict=True)))
    degraded = jnp.stack([jnp.asarray(as_float(f.image)) for f in files])
    large = jnp.stack([jnp.asarray(as_float(x.repeat(2, 0).repeat(2, 1))) for x in images])
    caches = jax.jit(jax.vmap(prepare))(degraded, headers)
    values, _ = jax.jit(jax.vmap(evaluate))(caches, large)
    for i in range(2):
        alone, _ = evaluate(prepare(degraded[i], files[i].header), jnp.asarray(as_float(images[i])))
        np.testing.assert_allclose(values[i], alone, rtol=1e-3, atol=1e-8)
