import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perceptual_jax.io import formats
from perceptual_jax.io.images import write_png
from perceptual_jax.io.inputs import Input, InputError, collect_inputs
from perceptual_jax.io.names import folded, unique_names


@pytest.fixture
def touch(tmp_path, monkeypatch):
    """Makes empty files below the working directory; nothing here opens them."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


def names_of(*sources, **options):
    inputs, problems = collect_inputs(sources, **options)
    assert problems == []
    return [item.name for item in inputs]


def test_a_folder_gives_its_images_at_any_depth(touch, tmp_path):
    touch("f/b.PNG", "f/a.jpg", "f/sub/deep/c.webp", "f/sub/a.tiff")
    touch("f/notes.txt", "f/.hidden.png", "f/.git/d.png", "f/data.h5")
    inputs, problems = collect_inputs(["f"])
    assert inputs == [
        Input(tmp_path / "f/a.jpg", "a"),
        Input(tmp_path / "f/b.PNG", "b"),
        Input(tmp_path / "f/sub/a.tiff", "sub__a"),
        Input(tmp_path / "f/sub/deep/c.webp", "sub__deep__c"),
    ]
    assert problems == []


def test_the_order_is_that_of_the_sources(touch):
    touch("x.png", "f/b.png", "f/a.png", "c.png")
    assert names_of("x.png", "f", "c.png") == ["x", "a", "b", "c"]


def test_a_file_named_by_itself_is_always_taken(touch):
    touch("scan", ".hidden.png", "face.v2.dat")
    assert names_of("scan", ".hidden.png", "face.v2.dat") == ["scan", ".hidden", "face.v2"]


def test_globs(touch):
    touch("f/x/a.png", "f/y/a.png", "f/y/notes.txt", "f/y/.b.png", "f/y/z/c.png")
    assert names_of("f/*/a.png") == ["x__a", "y__a"]
    assert names_of("f/**/*.png") == ["x__a", "y__a", "y__z__c"]
    assert names_of("f/?") == ["x__a", "y__a", "y__z__c"]
    assert names_of(os.path.abspath("f/y/*")) == ["a", "z__c"]


def test_a_file_whose_name_looks_like_a_glob(touch):
    touch("a[1].png", "a1.png")
    assert names_of("a[1].png") == ["a[1]"]


def test_each_file_once(touch):
    touch("f/a.png", "f/sub/b.png")
    os.symlink("f", "link")
    sources = ["f", "f/a.png", "./f//sub/../a.png", os.path.abspath("f"), "f/*.png", "link"]
    assert names_of(*sources) == ["a", "sub__b"]


def test_two_links_to_one_file_are_two_inputs(touch):
    touch("store/7f3a")
    os.mkdir("f")
    os.symlink("../store/7f3a", "f/a.png")
    os.symlink("../store/7f3a", "f/b.png")
    assert names_of("f") == ["a", "b"]


@pytest.mark.parametrize("source", ["f", "f/**/*.png", "f/**", "f/*"])
def test_loops_of_links_end(touch, source):
    touch("f/sub/a.png")
    for name in ("one", "two", "three"):
        os.symlink("..", f"f/sub/{name}")
        os.symlink(".", f"f/{name}")
    os.symlink("self.png", "f/self.png")
    inputs, _ = collect_inputs([source])
    assert [item.path.name for item in inputs] == ["a.png"]


def test_files_of_one_name_get_distinct_names_that_do_not_depend_on_order(touch):
    touch("f/a.png", "f/a.jpg", "f/A.webp", "f/b.png", "g/b.png", "g/c.png")
    inputs, _ = collect_inputs(["f", "g"])
    names = {item.path.relative_to(os.getcwd()).as_posix(): item.name for item in inputs}
    assert names["g/c.png"] == "c"
    assert len({name.casefold() for name in names.values()}) == 6
    for path, name in names.items():
        assert name.startswith(os.path.splitext(os.path.basename(path))[0])
    again, _ = collect_inputs(["g", "f"])
    assert set(again) == set(inputs)
    # One more file changes no name that was not shared with it.
    touch("g/d.png")
    more, _ = collect_inputs(["f", "g"])
    assert set(inputs) < set(more)


def test_names_that_differ_only_in_unicode_form_are_one_name(touch):
    touch("f/caf\u00e9.png", "f/cafe\u0301.jpg")
    assert all("-" in name for name in names_of("f"))


def test_a_file_called_like_another_with_its_digest(touch):
    touch("f/a.png", "f/a.jpg")
    first = names_of("f")
    touch(f"f/{first[0]}.png")
    assert len(set(names_of("f"))) == 3


def test_folders_joined_do_not_meet_a_file_of_that_name(touch):
    touch("f/x/a.png", "f/x__a.png")
    assert len(set(names_of("f"))) == 2


def test_reserved_names_are_not_given(touch):
    touch("f/index.png", "f/a.png")
    first, second = names_of("f", reserved=["index"])
    assert first == "a"
    assert second.startswith("index-")


def test_long_names_are_cut_and_stay_distinct(touch):
    deep = "/".join(["é" * 40] * 4)
    touch(f"f/{deep}/a.png", f"f/{deep}/b.png")
    names = names_of("f")
    assert len(set(names)) == 2
    assert all(len(name.encode()) < 220 for name in names)


def test_bytes_that_are_no_text(touch):
    name = os.fsdecode(b"f/\xff.png")
    touch(name)
    assert names_of("f") == ["\N{REPLACEMENT CHARACTER}"]  # results need a name that is text


def test_the_output_folder_is_no_input(touch):
    touch("f/a.png", "f/out/a.png", "f/out/b.png")
    assert names_of("f", out="f/out") == ["a"]
    assert names_of("f/**/*.png", out="f/out") == ["a"]
    for source in ("f/out", "f/out/a.png"):
        with pytest.raises(InputError, match="lies in the output folder"):
            collect_inputs([source], out="f/out")
    with pytest.raises(InputError, match="f lies in the output folder"):
        collect_inputs(["f"], out="f")


def test_what_gives_no_image_is_said_and_the_rest_goes_on(touch):
    touch("a.png", "empty/notes.txt")
    os.symlink("nowhere.png", "broken.png")
    os.mkfifo("pipe.png")
    sources = ["none.png", "empty", "*.gif", "broken.png", "pipe.png", "**x/a.png", "a.png"]
    inputs, problems = collect_inputs(sources)
    assert [item.name for item in inputs] == ["a"]
    assert [" ".join(problem) for problem in problems] == [
        "none.png does not exist",
        "empty is a folder without an image",
        "*.gif matches no image",
        "broken.png is not a file that can be read",
        "pipe.png is not a file that can be read",
        "**x/a.png matches no image",
    ]


def test_no_image_at_all_is_an_error(touch):
    touch("empty/notes.txt")
    with pytest.raises(InputError, match="no image to work on: no file or folder was given"):
        collect_inputs([])
    with pytest.raises(InputError, match=r"empty is a folder without an image; x\.png does not"):
        collect_inputs(["empty", "x.png"])
    with pytest.raises(InputError, match="does not exist"):
        collect_inputs(["a\0b" * 2])
    with pytest.raises(InputError, match="does not exist"):
        collect_inputs(["x" * 5000])


DERIVED = re.compile(r"_(nll|spread|s\d\d+)$")


def files_of(name):
    """The stems that a job may write for an input."""
    return {name, f"{name}_nll", f"{name}_spread", *(f"{name}_s{i:02d}" for i in range(3))}


def test_an_input_that_is_called_like_the_map_of_another_makes_way(touch):
    touch("f/a.png", "f/a_nll.png", "f/b_s01.png", "f/b.png", "f/c_spread.png", "f/A_S02.png")
    names = names_of("f", derived=DERIVED)
    assert {"a", "b", "c_spread"} < set(names)
    stems = [stem.casefold() for name in names for stem in files_of(name)]
    assert len(stems) == len(set(stems))


stems = st.sampled_from(["a", "A", "b", "\u00e9", "e\u0301"])
ends = st.lists(st.sampled_from(["_nll", "_spread", "_s00", "_S01", "_s123"]), max_size=3)
odd_names = st.builds(lambda stem, ends: stem + "".join(ends), stems, ends)


@given(
    st.lists(odd_names, min_size=1, max_size=8, unique=True),
    st.lists(odd_names, max_size=4, unique=True),
    st.randoms(use_true_random=False),
)
def test_no_two_inputs_share_a_file_whatever_they_are_called(names, earlier, random):
    bases = {Path(f"/in/{i}.png"): name for i, name in enumerate(names)}
    # The names of an earlier run are themselves a plan.
    old = {Path(f"/old/{i}.png"): name for i, name in enumerate(earlier)}
    taken = set(unique_names(old, derived=DERIVED).values())
    given = unique_names(bases, reserved=["index"], derived=DERIVED, taken=taken)
    shuffled = list(bases)
    random.shuffle(shuffled)
    again = {path: bases[path] for path in shuffled}
    assert unique_names(again, reserved=["index"], derived=DERIVED, taken=taken) == given
    owners = {}
    for name in {folded(name) for name in [*taken, *given.values()]}:
        for stem in files_of(name):
            assert owners.setdefault(folded(stem), name) == name
    assert len({folded(name) for name in given.values()}) == len(names)
    # A job with the same inputs that begins when some are done gives the same names.
    done = [name for name in given.values() if random.random() < 0.5]
    assert (
        unique_names(bases, reserved=["index"], derived=DERIVED, taken=taken | set(done)) == given
    )


def test_results_of_an_earlier_run_keep_their_names(touch):
    touch("f/a.png", "g/b_nll.png", "g/b.png")
    assert names_of("f", derived=DERIVED, taken=["a_nll"])[0].startswith("a-")
    renamed, kept = names_of("g", derived=DERIVED, taken=["b_nll"])
    assert renamed.startswith("b-")
    assert kept == "b_nll"
    assert names_of("g/b_nll.png", derived=DERIVED, taken=["b"])[0].startswith("b_nll-")


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbff/a.png\r\nf/b.png\r\n",
        "f/a.png\nf/b.png".encode("utf-16"),
        b"# faces\n\"f/a.png\"\n'f/b.png'\n\n",
    ],
)
def test_lists_as_editors_write_them(touch, tmp_path, content):
    touch("f/a.png", "f/b.png")
    (tmp_path / "list.txt").write_bytes(content)
    assert names_of("@list.txt") == ["a", "b"]


def test_what_folders_leave_out_is_counted_by_extension(touch, monkeypatch):
    touch("f/a.png", "f/b.MP4", "f/c.mp4", "f/sub/d", "f/e.jpg_large", "f/.hidden", "f/x.heic")
    monkeypatch.setattr(formats, "extensions", lambda: frozenset({".png"}))
    for source in ("f", "f/**"):
        lines = []
        inputs, problems = collect_inputs([source], report=lines.append)
        assert ([x.name for x in inputs], problems) == (["a"], [])
        (line,) = lines
        assert line.startswith(
            "left out, for they are no pictures: 1 without an extension, 1 .heic, 1 .jpg_large, "
            "2 .mp4; install pillow-heif"
        )
    lines = []
    collect_inputs(["f/a.png"], report=lines.append)
    assert lines == []


def test_own_sheets_and_maps_are_no_inputs_whatever_they_are_called(touch, tmp_path):
    touch("f/a.png", "f/index.png", "f/b_nll.png")  # empty files of these names are not ours
    black = np.zeros((4, 4, 3), np.uint8)
    for name, kind in [("sheet", "sheet"), ("face", "generated"), ("z_nll", "map"), ("r", None)]:
        write_png(tmp_path / "f" / f"{name}.png", black, kind=kind)
    lines = []
    inputs, problems = collect_inputs(["f"], report=lines.append)
    assert [x.name for x in inputs] == ["a", "b_nll", "face", "index", "r"]
    assert problems == []
    assert lines == ["left out, for they are no pictures: 2 sheets or maps of this tool"]


def test_sheets_and_maps_of_earlier_versions_are_known_by_their_records(touch, tmp_path):
    touch("f/index.png", "f/a.png", "f/a_nll.png", "f/results.jsonl", "f/config.toml")
    record = {"files": ["a.png", "a_nll.png", "a.npz"], "restorations": [{"image": "a.png"}]}
    (tmp_path / "f" / "a.json").write_text(json.dumps(record))
    assert names_of("f") == ["a"]
