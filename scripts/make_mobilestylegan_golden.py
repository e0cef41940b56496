"""Makes tests/generator/mobilestylegan_golden.npz: reference outputs of the default generator.

Runs the published networks in OpenVINO, which is no dependency of this project. In an environment
of its own, with the wheel that `perceptual_jax.checkpoints.catalogue` names:

    pip install openvino==2026.4.1 numpy
    pip download --no-deps random-face==2021.7.21.1
    python scripts/make_mobilestylegan_golden.py random_face-2021.7.21.1-py3-none-any.whl

The published synthesis network takes one style. Here every layer gets a separate input, so that W+
mixtures, and with them the order of the styles, are tested as well.
"""

import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import openvino  # pyright: ignore[reportMissingImports]

OUT = Path(__file__).parents[1] / "tests" / "generator" / "mobilestylegan_golden.npz"
FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32"}
SAMPLES = 3
BLOCKS = 7


def style_index(layer):
    """Index of the style, of 16, that modulates a layer of the published network."""
    if layer.startswith("m.conv1"):
        return 0
    block, part = int(layer.split(".")[2]), layer.split(".")[3]
    return {"up": 2 * block + 1, "conv1": 2 * block + 1, "conv2": 2 * block + 2}.get(
        part, 2 * BLOCKS + 1
    )


def with_own_styles(model):
    """Gives every modulated layer the row of an input [16, 512] that it reads."""
    (style,) = model.inputs
    opset = openvino.opset13
    styles = opset.parameter([2 * BLOCKS + 2, 512], np.float32, name="styles")
    model.add_parameters([styles])
    axis = opset.constant(0, np.int64)
    for target in list(style.get_target_inputs()):
        row = 0
        if target.get_node().get_type_name() == "MatMul":
            row = style_index(target.get_node().input_value(1).get_node().get_friendly_name())
        index = opset.constant([row], np.int64)
        target.replace_source_output(opset.gather(styles, index, axis).output(0))
    model.remove_parameter(style.node)
    model.validate_nodes_and_infer_types()


def summaries(images):
    """Small summaries of the images: a grid of pixels, a crop, and means of areas."""
    return {
        "grid": images[:, 7::32, 13::32],
        "crop": images[:, 496:528, 400:432],
        "means": images.reshape(-1, 16, 64, 16, 64, 3).mean(axis=(2, 4), dtype=np.float64),
    }


def main(wheel):
    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(wheel).extractall(folder)
        data = Path(folder, "random_face", "data")
        mapping = core.compile_model(core.read_model(data / "MappingNetwork.xml"), "CPU", FLOAT32)
        model = core.read_model(data / "SynthesisNetwork.xml")
        with_own_styles(model)
        synthesis = core.compile_model(model, "CPU", FLOAT32)

        z = np.random.default_rng(0).standard_normal((SAMPLES, 512), dtype=np.float32)
        w = np.concatenate([mapping(row[None])[0] for row in z])
        # Two images of one w each, and a mixture that cycles through all of them.
        rows = np.stack([np.zeros(16, int), np.ones(16, int), np.arange(16) % SAMPLES])
        images = np.concatenate([synthesis(w[row])[0] for row in rows]).transpose(0, 2, 3, 1)
    np.savez_compressed(OUT, z=z, w=w, rows=rows, **summaries(images))
    print(f"{OUT}: {OUT.stat().st_size:,} bytes, images {images.min():.3f} to {images.max():.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
