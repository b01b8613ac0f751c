"""Text, IDX files and downloads, whole and broken."""

import gzip
import hashlib
import os
import resource
import stat
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn import atomic
from tinygrad_rnn.data import (
    Vocabulary,
    _files,
    download,
    files,
    read_column,
    read_conll,
    read_idx,
    read_midi,
    read_pairs,
    read_text,
    read_wav,
)
from tinygrad_rnn.errors import DataError


def idx(array):
    """The bytes of an IDX file."""
    code = {np.dtype(name).newbyteorder(">"): code for code, name in files._IDX_TYPES.items()}
    dtype = array.dtype.newbyteorder(">")
    head = bytes([0, 0, code[dtype], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(dtype).tobytes()


@given(
    hnp.arrays(st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]), hnp.array_shapes(max_dims=4, min_side=0)),
    st.booleans(),
)
def test_idx(tmp_path_factory, array, packed):
    path = tmp_path_factory.mktemp("idx") / "x"
    path.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    got = read_idx(path)
    assert got.dtype == array.dtype
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got the first bytes b'', wanted an IDX file"),
        (b"\x89PNG....", "got the first bytes"),
        (b"\0\0\x07\1\0\0\0\0", "got the first bytes"),
        (b"\0\0\x08\3\0\0", "got 6 bytes, wanted the lengths of 3 axes"),
        (b"\0\0\x08\1\0\0\0\3ab", r"got 10 bytes, wanted 11 for an array of shape \(3,\)"),
        (b"\0\0\x08\1\0\0\0\1ab", r"got 10 bytes, wanted 9 for an array of shape \(1,\)"),
        (b"\x1f\x8bnonsense", "got a damaged gzip file"),
        (gzip.compress(b"\0\0\x08\1\0\0\0\0" * 9, mtime=0)[:-9], "got a damaged gzip file"),
    ],
)
def test_broken_idx(tmp_path, content, message):
    path = tmp_path / "t10k"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"t10k: {message}"):
        read_idx(path)


def bomb(head, zeros):
    """A gzip file that becomes `head` and so many zeros."""
    packer = zlib.compressobj(9, wbits=31)
    packed = packer.compress(head)
    for _ in range(zeros >> 20):
        packed += packer.compress(bytes(1 << 20))
    return packed + packer.flush()


@pytest.mark.slow
def test_no_more_is_unpacked_than_is_declared(tmp_path):
    (tmp_path / "x").write_bytes(bomb(b"\0\0\x08\1\0\0\0\3", 256 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"x: got more than 11 bytes, wanted 11 for an array of shape \(3,\)"):
        read_idx(tmp_path / "x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10  # KiB


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"x", r"got an array of shape .*, which cannot be held"),
        (b"\0\0\x08\xff" + b"\0\0\0\0" * 255, r"got an array of shape .*, which cannot be held"),
        (b"\0\0\x0e\4" + b"\0\0\0\0" + b"\xff" * 12, r"got an array of shape .*, which cannot be held"),
        (b"\0\0\x08\2" + b"\xff" * 8, "got 12 bytes, wanted 18446744065119617037 for an array of shape"),
        (gzip.compress(b"\0\0\x08\2" + b"\xff" * 8, mtime=0), "got .* bytes, wanted 18446744065119617037 for"),
        (gzip.compress(b"\0\0\x08\1\0\0\x10\0" + bytes(99), mtime=0), r"got 107 bytes, wanted 4104 for an array"),
    ],
)
def test_shapes_that_cannot_be(tmp_path, content, message):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=f"x: {message}"):
        read_idx(tmp_path / "x")


def test_an_axis_of_no_length(tmp_path):
    """NumPy has arrays without entries, of up to 2**63 bytes if they had some."""
    (tmp_path / "x").write_bytes(b"\0\0\x08\2\0\0\0\0\xff\xff\xff\xff")
    assert read_idx(tmp_path / "x").shape == (0, 2**32 - 1)


READERS = {
    "text": read_text,
    "idx": read_idx,
    "column": lambda path: read_column(path, "a"),
    "pairs": lambda path: read_pairs(path, ("a", "b")),
    "conll": read_conll,
    "wav": read_wav,
    "midi": read_midi,
    "vocabulary": Vocabulary.load,
    "download": lambda path: download("file:///dev/null", path, "00"),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_file(tmp_path, read):
    """Nothing waits for a pipe, and nothing reads a device without an end."""
    os.mkfifo(tmp_path / "pipe")
    os.symlink(tmp_path / "pipe", tmp_path / "link")
    for path, what in ((tmp_path, "a folder"), (tmp_path / "link", "a pipe"), (Path("/dev/zero"), "a device")):
        with pytest.raises(DataError, match=f"{path}: got {what}, wanted a file"):
            read(path)
    for path in (3, None, b"name", ["x"]):
        with pytest.raises(TypeError, match=r"path: got .*, wanted the path of a file as str or PathLike"):
            read(path)
    with pytest.raises(DataError, match=r"path: got .*, wanted a path without a null byte"):
        read("a\0b")


@pytest.mark.parametrize("read", [read for name, read in READERS.items() if name != "download"])
def test_what_cannot_be_opened(tmp_path, read):
    os.symlink(tmp_path / "b", tmp_path / "a")
    os.symlink(tmp_path / "a", tmp_path / "b")
    for path in (tmp_path / "none", tmp_path / "a", tmp_path / ("x" * 300)):
        with pytest.raises(OSError, match=r"Errno") as caught:
            read(path)
        assert caught.value.filename == str(path)
    if os.geteuid():
        (tmp_path / "mine").touch(0o000)
        with pytest.raises(PermissionError):
            read(tmp_path / "mine")


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_files_larger_than_the_memory(tmp_path, read, monkeypatch):
    monkeypatch.setattr(_files, "memory", lambda: 1000)
    (tmp_path / "x").write_bytes(bytes(1001))
    with pytest.raises(DataError, match=r"x: got 1001 bytes of content, wanted what the memory holds, at most 1000"):
        read(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (b"abc", "undefined"),
        (b"abc", "no-such"),
        (b"abc", "hex"),
        (b"abc", "zlib"),
        (b"abc", "a\0b"),
        (b"xn--\xff", "idna"),
    ],
)
def test_encodings_that_read_no_text(tmp_path, content, encoding):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=r"x(, line 1|, encoding): got "):
        read_text(tmp_path / "x", encoding)


def test_text(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes("\ufeffÄpfel\r\nund".encode())
    assert read_text(path) == "Äpfel\nund"
    path.write_bytes("gut\nÄpfel".encode("latin-1"))
    with pytest.raises(DataError, match=r"x.txt, line 2: got the byte 0xc4, wanted utf-8 text"):
        read_text(path)
    assert read_text(path, "latin-1") == "gut\nÄpfel"
    for empty in ("", " \n\n"):
        path.write_text(empty)
        with pytest.raises(DataError, match=r"x.txt: got an empty file, wanted text"):
            read_text(path)


def test_download(tmp_path):
    source, path = tmp_path / "source", tmp_path / "new" / "copy"
    source.write_bytes(b"content")
    right = hashlib.sha256(b"content").hexdigest()
    assert download(source.as_uri(), path, right) == path
    assert path.read_bytes() == b"content"
    source.unlink()
    assert download(source.as_uri(), path, right) == path  # it is there
    path.write_bytes(b"other")
    with pytest.raises(DataError, match="copy: got the SHA-256"):
        download(source.as_uri(), path, right)


def test_writing(tmp_path):
    """At once or not at all, with the permissions of the umask, through links, and without the leftovers of others."""
    path, link = tmp_path / "x*.bin", tmp_path / "link"
    link.symlink_to(path)
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f"x*.bin.{int(dead.stdout)}-ab.part").touch()
    (tmp_path / f"x*.bin.{os.getppid()}-ab.part").touch()
    (tmp_path / "xy.bin.1-ab.part").touch()
    before = os.umask(0o027)
    try:
        atomic.write(link, b"content")
    finally:
        os.umask(before)
    assert path.read_bytes() == b"content"
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    left = {"xy.bin.1-ab.part", f"x*.bin.{os.getppid()}-ab.part", "x*.bin", "link"}
    assert {p.name for p in tmp_path.iterdir()} == left
    with pytest.raises(DataError, match="null: got a device, wanted a file"):
        atomic.write("/dev/null", b"")
    with pytest.raises(FileNotFoundError) as caught:
        atomic.write(tmp_path / "none" / "x", b"")
    assert caught.value.filename == str(tmp_path / "none" / "x")


def test_download_of_the_wrong_file(tmp_path):
    source, path = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(b"<html>")
    with pytest.raises(DataError, match=r"source: got the SHA-256 .*, wanted 00"):
        download(source.as_uri(), path, "00")
    assert not path.exists()


def test_download_without_a_network(tmp_path):
    path = tmp_path / "copy"
    with pytest.raises(ConnectionError, match=r"cannot be fetched \(.*\); without a network, put the file at .*copy"):
        download("http://127.0.0.1:9/x.gz", path, "00", timeout=5)
