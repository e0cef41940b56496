"""Reads an OpenVINO network (IR version 10): an XML graph and one raw blob of constants.

    <layers> <layer id name type> <data .../> <output> <port> <dim>512</dim> ...
    <edges>  <edge from-layer from-port to-layer to-port/>

A constant is little-endian numbers in the blob at `offset`, `size` bytes, in C order. Exporters
rename most constants, so weights are found by where their edges lead, not by name.

Nothing in the file is executed or trusted: document types (and with them XML entities) are
refused, and every constant must lie inside the blob and fill its shape exactly.
"""

import math
from typing import NamedTuple, NoReturn
from xml.etree import ElementTree

import numpy as np

_DTYPES = {"f32": "<f4", "f16": "<f2", "i32": "<i4", "i64": "<i8"}


class IRError(ValueError):
    """The file is not an IR network, or not the expected one; the message says where."""


class Layer(NamedTuple):
    """A node of the graph."""

    id: str
    name: str
    type: str
    attributes: dict[str, str]


class Graph:
    """A network: its layers, how they are connected, and its constants."""

    def __init__(self, xml: bytes, blob: bytes):
        """Reads the graph; the constants are read when they are asked for.

        Args:
            xml: Content of the `.xml` file.
            blob: Content of the `.bin` file.

        Raises:
            IRError: If `xml` is not an IR network, or an edge leads to a layer that is not there.
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
