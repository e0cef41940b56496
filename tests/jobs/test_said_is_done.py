"""A job reports and records what it did: data term, size, dtype, generator and seed."""

import dataclasses
import re

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.config import DataConfig, SearchConfig
from perceptual_jax.jobs.job import restore_files
from perceptual_jax.jobs.plan import JobOptions
from perceptual_jax.likelihood.models import save_model
from tests.helpers.job_files import CONFIG, lines
from tests.helpers.networks import FAST, network
from tests.helpers.pictures import picture

KINDS = {"png": {}, "jpg": {"quality": 20}}
SIZES = (24, 48)
"""Below and above the generator's 32 pixels."""


@pytest.mark.slow
@pytest.mark.parametrize(("degradation", "draft"), [("auto", 0), ("learned", 0), ("dct_box", 16)])
def test_terms_are_those_that_were_evaluated(tmp_path, narrow, degradation, draft):
    for kind, options in KINDS.items():
        for size in SIZES:
            path = tmp_path / "in" / f"{kind}{size}.{kind}"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(picture(0, size, size)).save(path, **options)
    if degradation == "learned":
        degradation = str(tmp_path / "likelihood.safetensors")
        save_model(degradation, network(FAST), {})
    search = SearchConfig(steps=2, draft=draft)
    # At their own size: random pictures have no spectrum of a face.
    config = dataclasses.replace(
        CONFIG, degradation=degradation, search=search, data=DataConfig(detail=0)
    )
    reported = []
    restore_files(
        tmp_path / "in",
        tmp_path / "out",
        config,
        JobOptions(seed=7),
        generator=narrow,
        report=reported.append,
    )
    said = dict(re.findall(r"data term (\S+): (\S+)", "\n".join(reported)))
    for record in lines(tmp_path / "out"):
        if record["status"] != "OK":  # dct_box of a PNG is refused
            assert (degradation, record["name"][:3]) == ("dct_box", "png")
            continue
        size = int(record["name"][3:])
        term, terms = record["degradation"]["term"], record["restorations"][0]["terms"]
        evaluated = "nll" if term.endswith(".safetensors") else term
        assert evaluated in terms
        assert {"nll", "dct_box"} & terms.keys() <= {evaluated}
        assert ("nll_map" in record) == (evaluated == "nll")
        if term not in ("blur", "faded") and (draft or size > 32):
            assert term == "l2"
        assert term in said
        assert record["input"]["size"] == record["input"]["restored_from"] == [size, size]
        assert record["settings"]["seed"] == 7
        assert (record["generator"], record["resolution"], record["dtype"]) == (
            "StyleGAN2, given in Python",
            32,
            "float32",
        )
        with Image.open(tmp_path / "out" / f"{record['name']}.png") as image:
            assert image.size == (32, 32)
    assert np.all([name.endswith(("png", "jpg")) for name in said.values()])
