"""The script of the paper's Table 2: its rows are the paper's, and its files are complete."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PATH = Path(__file__).parents[1] / "scripts" / "table2_ablation.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("table2_ablation", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_rows_have_the_settings_that_the_table_says(script):
    every = script.Options(v1="one", early="early.safetensors", late="jpeg")
    assert len(script.ROWS) == 13
    for name, row in script.ROWS.items():
        config = script.config_of(name, every)
        version, mean, mmd, sphere = row.settings.split()
        assert config.generator == ("one" if version == "v1" else every.generator)
        assert (config.prior.start == "mean") == (mean == "Y")
        assert (config.prior.mmd_weight > 0) == (mmd == "Y")
        assert (config.prior.sphere != "none") == (sphere == "Y")
        assert config.search.steps == row.steps
        if row.coefficient == "-":
            assert config.degradation == "l2"
            assert config.data.weight == 100
        else:
            assert config.data.nll_weight == float(row.coefficient)
            assert config.degradation == {"early": every.early, "late": "jpeg"}[row.epoch]
    usual = script.Options(steps=7, set=("search.draft=128",))
    without = [name for name in script.ROWS if script.config_of(name, usual) is None]
    assert without == ["v1", "pixelcnn_1_early", "pixelcnn_10_early"]
    assert script.config_of("mean_mmd_sphere_1000", usual).search.steps == 70
    assert script.config_of("mean_sphere", usual).search.draft == 128


@pytest.mark.slow
def test_a_row_is_restored_once_and_put_into_the_table(script, narrow_path, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for name in "abc":
        small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), np.uint8))
        small.resize((64, 64)).save(tmp_path / "faces" / f"{name}.png")
    scored = []

    def scores(name, out, rankiqa):
        scored.append(name)
        return {"rank_vgg": {"mean": 12.5}, "psnr": {"mean": 20.25}}

    monkeypatch.setattr(script, "scores_of", scores)
    options = script.Options(generator=str(narrow_path), steps=2)
    out = tmp_path / "out"

    def run():
        script.main(
            str(tmp_path / "faces"),
            out=out,
            limit=2,
            rows=("mean_mmd_sphere",),
            options=options,
            compress_at=32,
            side=48,
            batch_size=2,
        )

    run()
    assert scored == ["mean_mmd_sphere", "original", "compressed"]
    assert {path.name for path in (out / "compressed").iterdir()} == {"b.jpg", "c.jpg"}
    with Image.open(out / "scored" / "mean_mmd_sphere" / "b.png") as image:
        assert image.size == (48, 48)
    rows = list(csv.DictReader((out / "table2.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["row"] for row in rows] == ["mean_mmd_sphere", "original", "compressed"]
    assert (rows[0]["steps"], rows[0]["faces"]) == ("2", "2")
    assert rows[0]["rank-vgg (ours)"] == "12.5"
    assert rows[0]["paper's RankIQA, mean"] == "30.17"
    head, _, first, *_ = (out / "table2.md").read_text().splitlines()
    assert "| rank-vgg (ours) | psnr |" in head
    assert "| v2 | Y | Y | Y | - | - | 2 | 2 | 12.50 | 20.25 |" in first
    assert json.loads((out / "table2.json").read_text())["about"]["JPEG quality"] == 10
    with Image.open(out / "figure6.png") as image:
        assert image.width > 3 * 256
    record = out / "rows" / "mean_mmd_sphere" / "b.json"
    before = record.stat().st_mtime_ns
    run()
    assert record.stat().st_mtime_ns == before
    with pytest.raises(SystemExit, match="the row v1 needs a checkpoint: --v1"):
        script.main(str(tmp_path / "faces"), out=out, rows=("v1",), options=options)
