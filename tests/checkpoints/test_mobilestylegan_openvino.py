import numpy as np
import pytest

from perceptual_jax.checkpoints.foreign import mobilestylegan_openvino as names
from perceptual_jax.checkpoints.foreign.mobilestylegan_openvino import Graph, IRError

MAPPING, SYNTHESIS = "tiny_face/data/MappingNetwork", "tiny_face/data/SynthesisNetwork"


def graph(networks, network, *, replaced=(b"", b""), blob=None):
    xml = networks[f"{network}.xml"]
    assert replaced[0] in xml
    return Graph(xml.replace(*replaced, 1), blob or networks[f"{network}.bin"])


def test_every_array_arrives_in_our_layout_with_the_gain_folded_in(networks, arrays):
    found = names.mapping_from_ir(graph(networks, MAPPING))
    found |= names.synthesis_from_ir(graph(networks, SYNTHESIS))
    assert found.keys() == arrays.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, arrays[name], err_msg=name)
        assert value.dtype == np.float32
        assert value.flags.c_contiguous


def test_the_config_follows_from_the_arrays(arrays):
    config = names.mobilestylegan_config(arrays)
    assert config == {"resolution": 32, "blocks": 2, "w_dim": 6}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (b"m.input.input", "'m.input.input', the graph has 0"),
        (b"m.layers.0.conv2.conv.modulation.weight", "m.layers.0.conv2.conv.modulation.weight"),
        (b"m.layers.0.up.modulation.weight", "m.layers.0.up.modulation.weight"),
        # Without the last block there seems to be one only, which has no image head.
        (b"m.layers.1.up.modulation.weight", "m.layers.0.to_img.conv.modulation.weight"),
        (b"m.layers.1.to_img.conv.modulation.weight", "m.layers.1.to_img.conv.modulation.weight"),
    ],
)
def test_a_missing_layer_is_named(networks, layer, message):
    with pytest.raises(IRError, match=message):
        names.synthesis_from_ir(graph(networks, SYNTHESIS, replaced=(layer, b"elsewhere")))


@pytest.mark.parametrize(
    ("shape", "other", "message"),
    [
        (b'shape="1, 1, 8, 8"', b'shape="1, 1, 4, 16"', r"\(1, 1, 8, 8\)"),
        (b'shape="2, 1, 1, 3, 3"', b'shape="1, 2, 1, 3, 3"', r"\(2, 1, 1, 3, 3\)"),
        (b'shape="1, 8, 4, 4"', b'shape="8, 16"', "should have 4 axes"),
        (b'shape="8, 6"', b'shape="48"', "should have 2 axes"),
        (b'shape="12, 8, 1, 1"', b'shape="8, 12, 1, 1"', r"\(12, 8, 1, 1\)"),
    ],
)
def test_a_constant_of_the_wrong_shape_is_refused(networks, shape, other, message):
    with pytest.raises(IRError, match=message):
        names.synthesis_from_ir(graph(networks, SYNTHESIS, replaced=(shape, other)))


def test_other_arithmetic_is_refused(networks):
    with pytest.raises(IRError, match=r"stored as \[out, in\]"):
        names.mapping_from_ir(
            graph(networks, MAPPING, replaced=(b'transpose_b="true"', b'transpose_b="false"'))
        )
    with pytest.raises(IRError, match="expected one PReLU"):
        names.mapping_from_ir(graph(networks, MAPPING, replaced=(b'"PReLU"', b'"Sigmoid"')))
    blob = networks[f"{MAPPING}.bin"]
    slope, gain = np.float32(0.2).tobytes(), np.float32(2**0.5).tobytes()
    for value, message in ((slope, "slope of .* should be 0.2"), (gain, "gain of .* 1.414214")):
        other = blob.replace(value, np.float32(0.3).tobytes())
        with pytest.raises(IRError, match=message):
            names.mapping_from_ir(graph(networks, MAPPING, blob=other))


def test_weights_that_are_not_finite_are_refused(networks, arrays):
    blob = networks[f"{SYNTHESIS}.bin"]
    bias = arrays["to_image.bias"][5].tobytes()
    with pytest.raises(IRError, match=r"to_image.bias has NaN"):
        names.synthesis_from_ir(
            graph(networks, SYNTHESIS, blob=blob.replace(bias, np.float32("nan").tobytes()))
        )
