"""Text, IDX files and downloads, whole and broken."""

import gzip
import hashlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_rnn.data import download, files, read_idx, read_text
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
