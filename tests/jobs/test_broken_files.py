"""A folder with thirty kinds of broken and odd files: each is named, and none stops the others."""

import json
import os

from tests.helpers.broken_files import write_broken
from tests.helpers.job_files import picture

GOOD = int(os.environ.get("PERCEPTUAL_JAX_GOOD_FILES", "6"))
"""200 is the long run."""


def test_the_good_ones_are_restored_and_the_others_named(again, tmp_path):
    (tmp_path / "in").mkdir()
    bad = write_broken(tmp_path / "in")
    assert len(bad) == 30
    for i in range(GOOD):
        picture(tmp_path / "in" / f"good{i:03d}.png", i)
    summary = again(tmp_path / "out", inputs=[tmp_path / "in"])
    assert summary.restored == GOOD
    reasons = {os.path.basename(place): reason for place, reason in summary.failed}
    assert reasons.keys() == bad
    assert all(reason.isprintable() and reason for reason in reasons.values())
    lines = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    assert {os.path.basename(json.loads(line)["path"]) for line in lines} == bad
    for name in ("bomb.png", "absurd.png", "giant.bmp", "large.bmp"):
        assert "pixels" in reasons[name] or "large" in reasons[name], reasons[name]
