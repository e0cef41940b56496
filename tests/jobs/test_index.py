import numpy as np
from PIL import Image

from perceptual_jax.jobs.index import write_index
from perceptual_jax.jobs.log import Lines

RED, BLUE = (255, 0, 0), (0, 0, 255)


def record(tmp_path, name, *, samples=1, missing=False):
    """Writes an input (red) and its restorations (blue); the record of them."""
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    if not missing:
        Image.new("RGB", (8, 8), RED).save(tmp_path / f"{name}.png")
    images = [f"{name}_s{i:02d}.png" if samples > 1 else f"{name}.png" for i in range(samples)]
    files = [*images, *([f"{name}_spread.png"] if samples > 1 else [])]
    for file in files:
        Image.new("RGB", (32, 32), BLUE).save(out / file)
    psnrs = [20.0, None][:samples] + [20.0] * (samples - 2)
    about = {"path": str(tmp_path / f"{name}.png"), "size": [8, 8], "restored_from": [8, 8]}
    return {
        "name": name,
        "status": "OK",
        "message": "all steps were taken",
        "input": about,
        "restorations": [
            {"image": image, "consistency_psnr": psnr}
            for image, psnr in zip(images, psnrs, strict=True)
        ],
        "files": files,
        **({"spread": {"mean": 0.1, "white": 0.2}} if samples > 1 else {}),
    }


def drawn(tmp_path, records):
    """The sheet, and how many pixels of it are of each colour, in cells."""
    results = tmp_path / "out" / "results.jsonl"
    results.unlink(missing_ok=True)
    for one in records:
        Lines(results).add(one)
    path = write_index(tmp_path / "out")
    assert path == tmp_path / "out" / "index.png"
    sheet = np.asarray(Image.open(path))
    return [round((sheet == colour).all(axis=-1).sum() / 256**2, 3) for colour in (RED, BLUE)]


def test_degraded_beside_restored(tmp_path):
    records = [record(tmp_path, "a"), record(tmp_path, "b")]
    assert drawn(tmp_path, records) == [2, 2]


def test_samples_and_spread(tmp_path):
    assert drawn(tmp_path, [record(tmp_path, "a", samples=3)]) == [1, 4]
    assert drawn(tmp_path, [record(tmp_path, "b", samples=12)]) == [1, 9]  # 8 samples at most


def test_inputs_and_results_that_are_gone_leave_empty_cells(tmp_path):
    records = [record(tmp_path, "a", missing=True), record(tmp_path, "b")]
    (tmp_path / "out" / "b.png").unlink()
    assert drawn(tmp_path, records) == [1, 1]


def test_failures_are_left_out_and_64_rows_are_enough(tmp_path):
    failed = {"name": "bad", "status": "FAILED", "message": "x", "input": {"path": "bad.png"}}
    records = [record(tmp_path, f"{i}") for i in range(65)]
    assert drawn(tmp_path, [failed, *records]) == [64, 64]


def test_no_picture_no_sheet(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "index.png").write_bytes(b"of an earlier job")
    (out / "results.jsonl").write_text("")
    assert write_index(out) is None
    assert not (out / "index.png").exists()
