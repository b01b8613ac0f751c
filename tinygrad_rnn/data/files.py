"""Files as they come: text, arrays in MNIST's IDX format, downloads that are checked."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import zlib
from os import PathLike
from pathlib import Path

import numpy as np

from ..errors import DataError

_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_text(path: str | PathLike[str], encoding: str = "utf-8") -> str:
    """A text file; a byte order mark is left out, and line ends become ``\\n``.

    Raises
    ------
    DataError
        Naming the file and the line that is not `encoding`, or if there is no text in the file.
    """
    text = decode(path, encoding)
    if not text.strip():
        raise DataError(f"{path}: got an empty file, wanted text")
    return text


def decode(path: str | PathLike[str], encoding: str) -> str:
    """:func:`read_text`, also of an empty file."""
    raw = Path(path).read_bytes()
    try:
        text = raw.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: got the byte 0x{raw[error.start]:02x}, wanted {encoding} text; "
            "save the file so, or pass its encoding="
        ) from None
    return text.replace("\r\n", "\n")


def read_idx(path: str | PathLike[str]) -> np.ndarray:
    """An array in the IDX format of MNIST and its relatives; a file packed with gzip is unpacked.

    Parameters
    ----------
    path : path of the file
        Two zero bytes, one for the type and one for the number of axes, their lengths as big-endian 32-bit
        integers, and the values.

    Returns
    -------
    ndarray
        In the byte order of the machine.

    Raises
    ------
    DataError
        Naming the file, if it is something else or was cut.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    raw = Path(path).read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path}: got a damaged gzip file ({error}), wanted IDX") from None
    if len(raw) < 4 or raw[:2] != b"\0\0" or raw[2] not in _IDX_TYPES:
        raise DataError(f"{path}: got the first bytes {raw[:4]!r}, wanted an IDX file such as MNIST's")
    dtype, axes = np.dtype(_IDX_TYPES[raw[2]]), raw[3]
    start = 4 + 4 * axes
    if len(raw) < start:
        raise DataError(f"{path}: got {len(raw)} bytes, wanted the lengths of {axes} axes")
    shape = struct.unpack(f">{axes}I", raw[4:start])
    wanted = start + math.prod(shape) * dtype.itemsize
    if len(raw) != wanted:
        raise DataError(f"{path}: got {len(raw)} bytes, wanted {wanted} for an array of shape {shape}")
    return np.frombuffer(raw, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))


def download(url: str, path: str | PathLike[str], sha256: str, timeout: float = 30.0) -> Path:
    """Fetch a file, unless it is there already, and check that it is the right one.

    Parameters
    ----------
    url : str
    path : path
        Where it goes; it appears at once or not at all.
    sha256 : str
        Its checksum, hexadecimal.
    timeout : float
        Seconds without an answer.

    Returns
    -------
    Path

    Raises
    ------
    DataError
        If the file, old or new, has another checksum.
    ConnectionError
        If it cannot be fetched.
    """
    import urllib.error  # takes a while, and is seldom needed
    import urllib.request

    path = Path(path)
    if path.exists():
        _check(path.read_bytes(), sha256, f"{path}")
        return path
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer:
            content = answer.read()
    except OSError as error:  # URLError and timeouts among them
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ConnectionError(f"{url}: cannot be fetched ({why}); without a network, put the file at {path}") from None
    _check(content, sha256, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _check(content: bytes, sha256: str, what: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != sha256:
        raise DataError(f"{what}: got the SHA-256 {got}, wanted {sha256}: this is not the file that was meant")
