"""Files of Caffe, as protocol buffers written field by field."""

import numpy as np


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, content):
    """A field of bytes, or of a whole number."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, *, legacy=False, double=False):
    array = np.asarray(array)
    if legacy:
        shape = [1] * (4 - array.ndim) + list(array.shape)
        head = b"".join(field(i + 1, n) for i, n in enumerate(shape))
    else:
        head = field(7, field(1, b"".join(map(varint, array.shape))))
    kind, number = ("<f8", 8) if double else ("<f4", 5)
    return head + field(number, array.astype(kind).tobytes())


def caffemodel(layers, *, old=False, **options):
    """A network of layers: name -> arrays, in the messages before 2015 if `old`."""
    name_at, blobs_at, layer_at = (4, 6, 2) if old else (1, 7, 100)
    parts = [field(1, b"a network")]
    for name, arrays in layers.items():
        content = field(name_at, name.encode()) + field(2, b"Convolution")
        content += b"".join(field(blobs_at, blob(one, **options)) for one in arrays)
        parts.append(field(layer_at, content))
    return b"".join(parts)


def rankiqa_layers(*, suffix="", outputs=1):
    """A narrow network in Caffe's layouts, by its names of layers."""
    rng = np.random.default_rng(7)
    widths = iter((2, 2, 3, 3, 4, 4, 4, 5, 5, 5, 3, 3, 3))
    layers, before = {}, 3
    for block, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            width = next(widths)
            weight = rng.normal(size=(width, before, 3, 3), scale=(9 * before / 2) ** -0.5)
            layers[f"conv{block}_{i}"] = weight, rng.normal(size=width)
            before = width
    before *= 49
    for name, width in (("fc6", 6), ("fc7", 5), ("fc8", outputs)):
        weight = rng.normal(size=(width, before), scale=before**-0.5)
        layers[name + suffix] = weight, rng.normal(size=width)
        before = width
    return {k: tuple(v.astype(np.float32) for v in values) for k, values in layers.items()}
