import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import Graph, IRError

BLOB = np.arange(6, dtype="<f4").tobytes()


def network(*, layers="", edges="", **data):
    """A graph of an input x, a constant of 2 x 3, and their product."""
    data = {"element_type": "f32", "shape": "2, 3", "offset": 0, "size": 24} | data
    attributes = " ".join(f'{key}="{value}"' for key, value in data.items())
    return f"""<?xml version="1.0"?>
        <net name="n" version="10"><layers>
            <layer id="0" name="x" type="Parameter"/>
            <layer id="1" name="c" type="Const"><data {attributes}/></layer>
            <layer id="2" name="y" type="Multiply"/>{layers}
        </layers><edges>
            <edge from-layer="1" from-port="0" to-layer="2" to-port="1"/>
            <edge from-layer="0" from-port="0" to-layer="2" to-port="0"/>{edges}
        </edges></net>""".encode()


def test_walks_along_edges_to_the_constant():
    graph = Graph(network(), BLOB)
    product = graph.user(graph.named("x"), "Multiply")
    assert product.name == "y"
    assert graph.source(product, "Parameter").name == "x"
    np.testing.assert_array_equal(graph.operand(product, 2, 3), [[0, 1, 2], [3, 4, 5]])


def test_reads_other_types_and_scalars():
    blob = b"\0" + np.array([-3, 7], "<i8").tobytes()
    graph = Graph(network(element_type="i64", shape="", offset=9, size=8), blob)
    assert graph.value(graph.named("c")) == 7


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"offset": 4}, "bytes 4 to 28 of a blob of 24"),
        ({"offset": -4}, "bytes -4 to 20"),
        ({"offset": 2**70}, "of a blob of 24"),
        ({"size": 20}, "20 bytes for shape"),
        ({"shape": "2, 4"}, "24 bytes for shape"),
        ({"shape": "-2, -3"}, "malformed"),
        ({"shape": "two"}, "malformed"),
        ({"shape": f"{2**40}, {2**40}", "size": 2**82}, "of a blob of 24"),
        ({"offset": "0x0"}, "malformed"),
        ({"element_type": "string"}, "malformed"),
    ],
)
def test_a_constant_that_does_not_fit_the_blob_is_refused(wrong, message):
    graph = Graph(network(**wrong), BLOB)
    with pytest.raises(IRError, match=message):
        graph.value(graph.named("c"))


def test_a_constant_of_another_shape_is_refused():
    graph = Graph(network(), BLOB)
    with pytest.raises(IRError, match=r"'y' should have shape \(6,\), it has \(2, 3\)"):
        graph.operand(graph.named("y"), 6)


def test_what_is_not_there_or_not_unique_is_said():
    graph = Graph(network(layers='<layer id="3" name="x" type="Result"/>'), BLOB)
    with pytest.raises(IRError, match="expected one layer 'w', the graph has 0"):
        graph.named("w")
    with pytest.raises(IRError, match="expected one layer 'x', the graph has 2"):
        graph.named("x")
    with pytest.raises(IRError, match="expected one Add after 'y'"):
        graph.user(graph.named("y"), "Add")
    with pytest.raises(IRError, match="malformed"):
        graph.value(graph.named("y"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_entity_bomb_is_refused_before_it_expands(encoding):
    entities = "".join(f'<!ENTITY e{i + 1} "{f"&e{i};" * 100}">' for i in range(9))
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    bomb = f'{head}<!DOCTYPE net [<!ENTITY e0 "ha">{entities}]><net>&e9;</net>'
    with pytest.raises(IRError, match="declares a document type"):
        Graph(bomb.encode(encoding), BLOB)


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (b"", "not XML"),
        (b"\x80\x04pickle", "not XML"),
        (network()[:200], "not XML"),
        (b"<html/>", "starts with <net>, this file with <html>"),
        (b"<net/>", "no layers"),
        (network(layers='<layer id="3" name="y"/>'), "no 'type'"),
        (network(edges='<edge from-layer="9" to-layer="2" to-port="2"/>'), "no valid '9'"),
        (network(edges='<edge from-layer="1" to-layer="2"/>'), "no valid 'to-port'"),
        (network(edges='<edge from-layer="1" to-layer="2" to-port="a"/>'), "no valid"),
    ],
)
def test_what_is_no_network_is_refused(xml, message):
    with pytest.raises(IRError, match=message):
        Graph(xml, BLOB)
