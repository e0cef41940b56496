import re

import pytest

from perceptual_jax.checkpoints import catalogue


def test_the_default_generator_comes_first():
    assert catalogue.ENTRIES[0].name == "mobilestylegan-ffhq"


def test_names_differ_and_can_be_file_names():
    names = [entry.name for entry in catalogue.ENTRIES]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in names)


@pytest.mark.parametrize("entry", catalogue.ENTRIES, ids=lambda entry: entry.name)
def test_every_source_is_pinned(entry):
    if isinstance(entry.source, catalogue.Download):
        assert entry.source.url.startswith("https://")
        assert entry.source.sha256 is None or re.fullmatch("[0-9a-f]{64}", entry.source.sha256)
        assert "non-commercial" in entry.licence
        return
    files = [entry.source.file, *entry.source.members]
    assert "==" in entry.source.requirement
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) for file in files)
    assert all(file.size > 0 for file in files)
    assert hash(entry) == hash(catalogue.entry(entry.name))


def test_the_default_generator_says_its_licence():
    assert "non-commercial" in catalogue.entry("mobilestylegan-ffhq").licence


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(catalogue.WeightsError, match=r"'stylegan9'.*mobilestylegan-ffhq"):
        catalogue.entry("stylegan9")
