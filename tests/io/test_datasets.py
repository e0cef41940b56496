"""Training data from tensorflow-datasets: a dataset that is really built, without TensorFlow."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.degradation.profiles import load_profile
from perceptual_jax.io.bundles import read_again
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import collect_inputs
from perceptual_jax.training.pairs import training_batches
from perceptual_jax.training.sources import DataError, open_sources


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """The folder of a dataset `small_faces`, of a config `32` like that of `celeb_a_hq`."""
    import tensorflow_datasets as tfds

    folder = tmp_path_factory.mktemp("tfds")

    class SmallFaces(tfds.core.GeneratorBasedBuilder):
        pkg_dir_path = folder  # else it looks for the package of this module, which has none
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = (tfds.core.BuilderConfig(name="32", version="1.0.0"),)

        def _info(self):
            image = tfds.features.Image(shape=(32, 32, 3))
            return self.dataset_info_from_configs(
                features=tfds.features.FeaturesDict({"image": image})
            )

        def _split_generators(self, dl_manager):
            return {"train": self._generate_examples()}

        def _generate_examples(self):
            for i in range(6):
                file = io.BytesIO()
                Image.fromarray(np.full((32, 32, 3), 40 * i, np.uint8)).save(file, "PNG")
                file.seek(0)
                yield i, {"image": file}

    SmallFaces(data_dir=folder, config="32").download_and_prepare(file_format="array_record")
    return folder


def test_a_prepared_dataset_is_training_data(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    source = open_sources("tfds:small_faces/32", size=32)
    assert len(source) == 6
    assert {int(source[i][0, 0, 0]) for i in range(6)} == {0, 40, 80, 120, 160, 200}
    assert len(open_sources("tfds:small_faces/32:train[:50%]", size=32)) == 3
    settings = {"crop": 16, "batch_size": 4, "seed": 0}
    batch = next(training_batches(source, load_profile("jpeg"), **settings))
    assert batch["degraded"].shape == (4, 16, 16, 3)
    assert "tensorflow" not in sys.modules


def test_a_prepared_dataset_is_an_input(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    for source in ("tfds:small_faces/32", "tfds:small_faces/32/train"):
        inputs, _ = collect_inputs([source])
        assert len({x.name for x in inputs}) == 6
        for one in inputs:
            data = one.read_bytes()
            assert read_image(one.path, data=data).shape == (32, 32, 3)
            assert read_again(str(one.path)) == data


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small_faces/32:test", "Unknown split 'test'"),
        ("celeb_a_hq/256", r"prepare it with tfds build --file_format=array_record"),
    ],
)
def test_datasets_that_are_not_there(prepared, monkeypatch, name, message):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    with pytest.raises(DataError, match=message):
        open_sources(f"tfds:{name}", size=32)
