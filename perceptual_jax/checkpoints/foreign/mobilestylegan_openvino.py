"""MobileStyleGAN from an OpenVINO network (IR version 10), in our names and layouts.

Its files are an XML graph and one raw blob of constants:

    <layers> <layer id name type> <data .../> <output> <port> <dim>512</dim> ...
    <edges>  <edge from-layer from-port to-layer to-port/>

A constant is little-endian numbers in the blob at `offset`, `size` bytes, in C order. Exporters
rename most constants, so weights are found by the edges of the graph, not by name. Nothing in the
file is executed or trusted: document types (and with them XML entities) are refused, and every
constant must lie inside the blob and fill its shape exactly.

The result is float32, channels last, with effective weights. Names are flat, joined by dots:

    mapping.fc{i}.weight [in out]   mapping.fc{i}.bias [out]
    const [4 4 c]
    conv1.affine.weight [d c]   conv1.affine.bias [c]   conv1.weight [3 3 in out]
    conv1.noise [4 4]           conv1.bias [out]
    blocks.{i}.up.affine.weight, .bias
    blocks.{i}.conv{1,2}.affine.weight, .bias
    blocks.{i}.conv{1,2}.depthwise [3 3 in]   .pointwise [in out]   .noise [r r]   .bias [out]
    to_image.affine.weight, .bias   to_image.weight [in 12]   to_image.bias [12]

The scale of a layer's input by its style is `w @ affine.weight + affine.bias`; the gain
1/sqrt(fan in) that the MobileStyleGAN graph multiplies it with is folded into both. Noise maps
are as published: fixed maps already multiplied by their strength.

Source: Belousov, "MobileStyleGAN: A Lightweight Convolutional Neural Network for High-Fidelity
Image Synthesis", 2021, and the graph of its export.
"""

import math
from typing import Any, NamedTuple, NoReturn
from xml.etree import ElementTree

import numpy as np

from perceptual_jax.checkpoints.store import Arrays
from perceptual_jax.errors import Error

_DTYPES = {"f32": "<f4", "f16": "<f2", "i32": "<i4", "i64": "<i8"}


class IRError(Error, ValueError):
    """A file is not an IR network, or not the expected one; the message names the layer."""


class Layer(NamedTuple):
    """A node of the graph."""

    id: str
    name: str
    type: str
    attributes: dict[str, str]


class Graph:
    """A network: its layers, how they are connected, and its constants."""

    def __init__(self, xml: bytes, blob: bytes):
        """Reads the graph; constants are read on demand.

        Args:
            xml: Content of the `.xml` file.
            blob: Content of the `.bin` file.

        Raises:
            IRError: If `xml` is not an IR network, or an edge leads to a missing layer.
        """
        root = _parse(xml)
        self.blob = blob
        self.layers = {layer.id: layer for layer in map(_layer, root.iterfind("layers/layer"))}
        self._sources: dict[str, list[Layer]] = {id: [] for id in self.layers}
        self._users: dict[str, list[Layer]] = {id: [] for id in self.layers}
        edges = [edge.attrib for edge in root.iterfind("edges/edge")]
        try:
            for edge in sorted(edges, key=lambda edge: int(edge["to-port"])):
                source, user = self.layers[edge["from-layer"]], self.layers[edge["to-layer"]]
                self._sources[user.id].append(source)
                self._users[source.id].append(user)
        except (KeyError, ValueError) as error:
            raise IRError(f"an edge of the graph has no valid {error}") from None
        if not self.layers:
            raise IRError("the graph has no layers")

    def named(self, name: str) -> Layer:
        """The one layer called `name`."""
        return _single([x for x in self.layers.values() if x.name == name], f"layer {name!r}")

    def source(self, layer: Layer, type: str) -> Layer:
        """The one input of `layer` that has this type."""
        found = [x for x in self._sources[layer.id] if x.type == type]
        return _single(found, f"{type} before {layer.name!r}")

    def user(self, layer: Layer, type: str) -> Layer:
        """The one layer of this type that takes the output of `layer`."""
        found = [x for x in self._users[layer.id] if x.type == type]
        return _single(found, f"{type} after {layer.name!r}")

    def operand(self, layer: Layer, *shape: int) -> np.ndarray:
        """The constant that is an input of `layer`, which must have this shape."""
        value = self.value(self.source(layer, "Const"))
        if value.shape != shape:
            raise IRError(
                f"the constant of {layer.name!r} should have shape {shape}, it has {value.shape}"
            )
        return value

    def value(self, constant: Layer) -> np.ndarray:
        """The numbers of a `Const` layer, read-only.

        Raises:
            IRError: If they do not lie in the blob, or do not fill their shape.
        """
        try:
            dtype = np.dtype(_DTYPES[constant.attributes["element_type"]])
            shape = _shape(constant.attributes["shape"])
            offset, size = (int(constant.attributes[key]) for key in ("offset", "size"))
        except (KeyError, ValueError) as error:
            raise IRError(f"constant {constant.name!r} is malformed: {error}") from None
        if size != math.prod(shape) * dtype.itemsize:
            raise IRError(f"constant {constant.name!r} has {size} bytes for shape {shape}")
        if offset < 0 or offset + size > len(self.blob):
            raise IRError(
                f"constant {constant.name!r} lies at bytes {offset} to {offset + size} "
                f"of a blob of {len(self.blob)}"
            )
        numbers = np.frombuffer(self.blob, dtype, count=math.prod(shape), offset=offset)
        return numbers.reshape(shape)


class _NoDocumentType(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise IRError("the XML declares a document type; an IR network has none")


def _parse(xml: bytes) -> ElementTree.Element:
    try:
        root = ElementTree.fromstring(xml, ElementTree.XMLParser(target=_NoDocumentType()))
    except ElementTree.ParseError as error:
        raise IRError(f"not XML: {error}") from None
    if root.tag != "net":
        raise IRError(f"an IR network starts with <net>, this file with <{root.tag}>")
    return root


def _layer(element: ElementTree.Element) -> Layer:
    data = element.find("data")
    try:
        identity = [element.attrib[key] for key in ("id", "name", "type")]
    except KeyError as error:
        raise IRError(f"a layer of the graph has no {error}") from None
    return Layer(*identity, attributes={} if data is None else dict(data.attrib))


def _shape(text: str) -> tuple[int, ...]:
    shape = tuple(int(dim) for dim in text.split(",") if dim.strip())
    if any(dim < 0 for dim in shape):
        raise ValueError(f"shape {text!r}")
    return shape


def _single(found: list[Layer], what: str) -> Layer:
    if len(found) != 1:
        raise IRError(f"expected one {what}, the graph has {len(found)}")
    return found[0]


def mapping_from_ir(graph: Graph) -> Arrays:
    """Arrays of the mapping network: repeated dense layer, leaky ReLU 0.2, gain sqrt(2).

    Raises:
        IRError: If the graph has another structure.
    """
    arrays: Arrays = {}
    x = graph.user(_input(graph), "Multiply")
    for i in range(sum(layer.type == "MatMul" for layer in graph.layers.values())):
        dense = graph.user(x, "MatMul")
        weight = _dense_weight(graph, dense)
        biased = graph.user(dense, "Add")
        bias = graph.operand(graph.source(biased, "Reshape"), weight.shape[1])
        x = graph.user(_leaky_relu(graph, biased), "Multiply")
        _expect(graph.operand(x, 1, 1), math.sqrt(2), f"the gain of {x.name!r}")
        arrays |= {f"mapping.fc{i}.weight": weight, f"mapping.fc{i}.bias": bias}
    graph.user(x, "Result")
    return _ours(arrays)


def synthesis_from_ir(graph: Graph) -> Arrays:
    """Arrays of the synthesis network: const, conv1, wavelet blocks, and the last image head.

    Raises:
        IRError: If the graph has another structure.
    """
    const = graph.value(graph.named("m.input.input"))
    _expect_rank(const, 4, "m.input.input")
    arrays: Arrays = {"const": const[0].transpose(1, 2, 0)}

    affine, scaled = _affine(graph, "m.conv1.conv", gain=True)
    conv = graph.user(scaled, "Convolution")
    channels, resolution = const.shape[1:3]
    weight = graph.operand(conv, channels, channels, 3, 3)
    arrays |= prefixed("conv1.affine", affine)
    arrays["conv1.weight"] = weight.transpose(2, 3, 1, 0)
    arrays |= prefixed("conv1", _noise_and_bias(graph, conv, channels, resolution))

    blocks = sum(layer.name.endswith(".up.modulation.weight") for layer in graph.layers.values())
    for i in range(blocks):
        resolution *= 2
        affine, _ = _affine(graph, f"m.layers.{i}.up", gain=False)
        arrays |= prefixed(f"blocks.{i}.up.affine", affine)
        for conv in ("conv1", "conv2"):
            separable = _separable(graph, f"m.layers.{i}.{conv}", resolution)
            arrays |= prefixed(f"blocks.{i}.{conv}", separable)

    affine, scaled = _affine(graph, f"m.layers.{blocks - 1}.to_img.conv", gain=True)
    conv = graph.user(scaled, "Convolution")
    weight = graph.operand(conv, 12, affine["bias"].size, 1, 1)
    arrays |= prefixed("to_image.affine", affine)
    arrays["to_image.weight"] = weight[:, :, 0, 0].T
    arrays["to_image.bias"] = graph.operand(graph.user(conv, "Add"), 1, 12, 1, 1).reshape(-1)
    return _ours(arrays)


def mobilestylegan_config(arrays: Arrays) -> dict[str, Any]:
    """Infers resolution, number of blocks and dimension of W from the arrays."""
    blocks = len({name.split(".")[1] for name in arrays if name.startswith("blocks.")})
    return {
        "resolution": arrays["const"].shape[0] * 2 ** (blocks + 1),
        "blocks": blocks,
        "w_dim": arrays["conv1.affine.weight"].shape[0],
    }


def _affine(graph: Graph, prefix: str, *, gain: bool) -> tuple[Arrays, Layer]:
    """The affine map of one layer's style, and the layer that multiplies features by it."""
    dense = graph.user(graph.named(f"{prefix}.modulation.weight"), "MatMul")
    weight = _dense_weight(graph, dense)
    biased = graph.user(dense, "Add")
    bias = graph.operand(biased, 1, weight.shape[1]).reshape(-1)
    scale = graph.user(graph.user(biased, "Reshape"), "Multiply")
    if not gain:
        return {"weight": weight, "bias": bias}, scale
    factor = graph.operand(scale, 1, 1, 1, 1).item()
    return {"weight": weight * factor, "bias": bias * factor}, graph.user(scale, "Multiply")


def _separable(graph: Graph, prefix: str, resolution: int) -> Arrays:
    affine, scaled = _affine(graph, f"{prefix}.conv", gain=True)
    c_in = affine["bias"].size
    depthwise = graph.user(scaled, "GroupConvolution")
    pointwise = graph.user(depthwise, "Convolution")
    c_out = graph.value(graph.source(pointwise, "Const")).shape[0]
    return {
        **prefixed("affine", affine),
        "depthwise": graph.operand(depthwise, c_in, 1, 1, 3, 3)[:, 0, 0].transpose(1, 2, 0),
        "pointwise": graph.operand(pointwise, c_out, c_in, 1, 1)[:, :, 0, 0].T,
        **_noise_and_bias(graph, pointwise, c_out, resolution),
    }


def _noise_and_bias(graph: Graph, conv: Layer, channels: int, resolution: int) -> Arrays:
    noisy = graph.user(conv, "Add")
    biased = graph.user(noisy, "Add")
    _leaky_relu(graph, biased)
    return {
        "noise": graph.operand(noisy, 1, 1, resolution, resolution)[0, 0],
        "bias": graph.operand(biased, 1, channels, 1, 1).reshape(-1),
    }


def _dense_weight(graph: Graph, dense: Layer) -> np.ndarray:
    weight = graph.value(graph.source(dense, "Const"))
    _expect_rank(weight, 2, dense.name)
    if dense.attributes.get("transpose_b") != "true":
        raise IRError(f"the weight of {dense.name!r} should be stored as [out, in]")
    return weight.T


def _leaky_relu(graph: Graph, biased: Layer) -> Layer:
    activation = graph.user(biased, "PReLU")
    _expect(graph.operand(activation, 1), 0.2, f"the slope of {activation.name!r}")
    return activation


def _input(graph: Graph) -> Layer:
    found = [layer for layer in graph.layers.values() if layer.type == "Parameter"]
    if len(found) != 1:
        raise IRError(f"expected one input of the network, the graph has {len(found)}")
    return found[0]


def _expect(value: np.ndarray, expected: float, what: str) -> None:
    if not math.isclose(value.item(), expected, rel_tol=1e-6):
        raise IRError(f"{what} should be {expected:.7g}, it is {value.item():.7g}")


def _expect_rank(value: np.ndarray, rank: int, what: str) -> None:
    if value.ndim != rank:
        raise IRError(f"the constant of {what!r} should have {rank} axes, it has {value.shape}")


def prefixed(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays of a layer with the name of the layer as a prefix."""
    return {f"{prefix}.{name}": value for name, value in arrays.items()}


def _ours(arrays: Arrays) -> Arrays:
    for name, value in arrays.items():
        if not np.isfinite(value).all():
            raise IRError(f"{name} has NaN or infinite values")
    return {name: np.ascontiguousarray(value, np.float32) for name, value in arrays.items()}
