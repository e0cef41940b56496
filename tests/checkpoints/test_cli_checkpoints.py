import pytest

from perceptual_jax import cli
from tests.helpers.checkpoint_writers import called, nvidia_torch, torch_zip
from tests.helpers.foreign_networks import nvidia_arrays, rosinality_arrays


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "own.pkl"
    arrays = nvidia_arrays()
    other = {"b4.x": arrays["mapping.w_avg"]}
    path.write_bytes(nvidia_torch({"G": arrays, "D": other, "G_ema": arrays}))
    return path


def test_convert_then_generate(tmp_path, checkpoint, capsys):
    out = tmp_path / "own.safetensors"
    assert cli.main(["weights", "convert", str(checkpoint), str(out)]) == 0
    assert "StyleGAN2, 16 px, channels 6 5 4" in capsys.readouterr().out
    assert (
        cli.main(["generate", "--seeds", "0", "--generator", str(out), "--out", str(tmp_path)]) == 0
    )
    assert (tmp_path / "seed0000.png").exists()
    assert cli.main(["weights", "convert", str(checkpoint), str(checkpoint)]) == 2
    assert "would overwrite" in capsys.readouterr().err


def test_inspect_says_what_is_in_a_file_and_writes_nothing(tmp_path, checkpoint, capsys):
    assert cli.main(["weights", "inspect", str(checkpoint)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "nvidia-torch" in lines[0]
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["G", "D", "G_ema"]
    assert "no generator that is served" in lines[2]
    (tmp_path / "ros.pt").write_bytes(torch_zip({"g_ema": rosinality_arrays(nvidia_arrays())}))
    assert cli.main(["weights", "inspect", str(tmp_path / "ros.pt")]) == 0
    assert "mean of W estimated from 10000 latents" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["own.pkl", "ros.pt"]


def test_a_hostile_file_is_one_sentence_and_code_1(tmp_path, capsys):
    path = tmp_path / "bad.pkl"
    path.write_bytes(called("os", "system", "touch canary"))
    for command in (
        ["convert", str(path), str(tmp_path / "x.safetensors")],
        ["inspect", str(path)],
    ):
        assert cli.main(["weights", *command]) == 1
        error = capsys.readouterr().err
        assert "calls os.system" in error
        assert "Traceback" not in error
    assert [p.name for p in tmp_path.iterdir()] == ["bad.pkl"]
