"""Images in tar, compressed tar and zip files, also hostile ones."""

import bz2
import contextlib
import gzip
import io
import lzma
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from perceptual_jax.io import archives
from perceptual_jax.io.bundles import read_again
from perceptual_jax.io.images import read_image
from perceptual_jax.io.inputs import InputError, collect_inputs


def png(value):
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def tar(members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return file.getvalue()


WRITERS = {
    "a.tar": tar,
    "a.tar.gz": lambda members: gzip.compress(tar(members)),
    "a.tgz": lambda members: gzip.compress(tar(members)),
    "a.tar.bz2": lambda members: bz2.compress(tar(members)),
    "a.TAR.XZ": lambda members: lzma.compress(tar(members)),
    "b.tar": lambda members: gzip.compress(tar(members)),  # the content decides
    "a.zip": zipped,
    "stored.zip": lambda members: zipped(members, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_archive_is_read_alike(tmp_path, name):
    members = [("a.png", png(1)), ("a.json", b"{}"), ("x/b.png", png(2)), ("x/.c.png", png(3))]
    (tmp_path / name).write_bytes(WRITERS[name](members))
    lines = []
    inputs, problems = collect_inputs([tmp_path / name], report=lines.append)
    assert not problems
    assert lines == ["left out, for they are no pictures: 1 .json"]
    values = {x.name: read_image(x.path, data=x.read_bytes())[0, 0, 0] for x in inputs}
    assert values == {"a": 1, "x__b": 2}
    assert inputs[0].path == tmp_path / name / "a.png"
    assert all(read_again(str(x.path)) == x.read_bytes() for x in inputs)


@pytest.mark.parametrize("writer", [tar, zipped])
def test_no_name_reaches_outside_the_archive(tmp_path, writer):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(9))
    names = ["../secret.png", str(secret), "..\\secret.png", "C:\\secret.png", "x/../secret.png"]
    members = [(name, png(i)) for i, name in enumerate(names)]
    (tmp_path / "in").mkdir()
    suffix = "tar" if writer is tar else "zip"
    path = tmp_path / "in" / f"a.{suffix}"
    path.write_bytes(writer(members))
    inputs, _ = collect_inputs([path], out=tmp_path / "out")
    assert len({x.name for x in inputs}) == len({x.path for x in inputs}) == len(names)
    for i, one in enumerate(inputs):
        assert path in one.path.parents
        assert "/" not in one.name
        assert not one.name.startswith(".")
        assert read_image(one.path, data=one.read_bytes())[0, 0, 0] == i


def test_links_and_folders_are_no_members(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
            info = tarfile.TarInfo(f"{kind.decode()}.png")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("folder.png")
    for name in ("a.tar", "a.zip"):
        with pytest.raises(InputError, match="holds no image"):
            collect_inputs([tmp_path / name])


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "ALWAYS_UNPACKED", 2**20)
    (tmp_path / "bomb.tar.gz").write_bytes(gzip.compress(tar([("a.png", bytes(2**24))])))
    with pytest.raises(InputError, match=r"bomb.tar.gz unpacks to more than .* bytes"):
        collect_inputs([tmp_path / "bomb.tar.gz"])


@pytest.mark.parametrize("writer", [tar, zipped])
def test_a_member_that_is_too_large_fails_alone(tmp_path, monkeypatch, writer):
    monkeypatch.setattr(archives, "MAX_MEMBER_BYTES", 2**16)
    path = tmp_path / ("a.tar" if writer is tar else "a.zip")
    path.write_bytes(writer([("big.png", bytes(2**17)), ("a.png", png(1))]))
    big, small = collect_inputs([path])[0]
    with pytest.raises(OSError, match="131,072 bytes are more than the 65,536 that are read"):
        big.read_bytes()
    assert small.read_bytes() == png(1)


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)
    for name in ("a.tar", "a.zip", "a.tar.gz"):
        (tmp_path / name).write_bytes(WRITERS[name]([(f"{i}.png", b"") for i in range(4)]))
        with pytest.raises(InputError, match="has more than 3 members; divide it"):
            collect_inputs([tmp_path / name])


def test_damaged_archives_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(0)
    members = [(f"{i}.png", png(i)) for i in range(3)]
    for name, writer in WRITERS.items():
        whole = np.frombuffer(writer(members), np.uint8)
        for trial in range(30):
            damaged = whole[: rng.integers(len(whole))] if trial % 2 else whole.copy()
            if trial % 2 == 0:
                damaged[rng.integers(0, len(damaged), 5)] = rng.integers(0, 256, 5)
            (tmp_path / name).write_bytes(damaged.tobytes())
            with contextlib.suppress(InputError, OSError):
                for one in collect_inputs([tmp_path / name])[0]:
                    one.read_bytes()


def test_an_encrypted_zip_is_said(tmp_path):
    content = bytearray(zipped([("a.png", png(1))]))
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(magic) + offset] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a.zip is encrypted; unpack it first"):
        collect_inputs([tmp_path / "a.zip"])
