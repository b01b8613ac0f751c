"""Readers of text and of MNIST's IDX arrays, and downloads that are checked."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import struct
import sys
import zlib
from os import PathLike
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ..atomic import checked, write
from ..errors import DataError
from ._checks import above_zero, text
from ._files import content, opened, require_memory

PIECE = 1 << 20  # bytes
DENSEST = 1100  # bytes that one of a gzip file can become; 1032 if it holds nothing else
_IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def read_text(path: str | PathLike[str], encoding: str = "utf-8") -> str:
    """A text file; a byte order mark is left out, and line ends become ``\\n``.

    Raises
    ------
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file and the line that is not `encoding`, or if there is no text in the file, or it is none.
    """
    found = decode(path, encoding)
    if not found.strip():
        raise DataError(f"{path}: got an empty file, wanted text")
    return found


def decode(path: str | PathLike[str], encoding: str) -> str:
    """:func:`read_text`, also of an empty file."""
    if not isinstance(encoding, str):
        raise TypeError(f"encoding: got {encoding!r}, wanted the name of one")
    with content(path) as raw:
        try:
            found = raw.decode(encoding)
        except UnicodeDecodeError as error:
            damaged = error.object if isinstance(error.object, bytes) else raw
            line = damaged.count(b"\n", 0, error.start) + 1
            byte = damaged[error.start : error.start + 1]
            raise DataError(
                f"{path}, line {line}: got {f'the byte 0x{byte.hex()}' if byte else 'an end'}, wanted {encoding} text; "
                "save the file so, or pass its encoding="
            ) from None
        except (
            LookupError,
            ValueError,
            ArithmeticError,
            TypeError,
        ) as error:  # no codec, or none for reading such text
            raise DataError(f"{path}, encoding: got {encoding!r}, wanted one that can read it ({error})") from None
        return found.removeprefix("\ufeff").replace("\r\n", "\n")


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
    OSError
        If the file is missing, or may not be read.
    DataError
        Naming the file, if it is something else, was cut, or declares more than the memory holds.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "labels-idx1-ubyte")
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    with opened(path) as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        size = os.fstat(file.fileno()).st_size
        try:
            return _idx(path, cast(BinaryIO, gzip.GzipFile(fileobj=file)) if packed else file, size, packed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{path}: got a damaged gzip file ({error}), wanted IDX") from None


def _idx(path: str | PathLike[str], file: BinaryIO, size: int, packed: bool) -> np.ndarray:
    """The array in `file`; of more than it declares, no more than a piece is unpacked."""
    head = file.read(4)
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_TYPES:
        raise DataError(f"{path}: got the first bytes {head!r}, wanted an IDX file such as MNIST's")
    dtype, axes = np.dtype(_IDX_TYPES[head[2]]), head[3]
    lengths = file.read(4 * axes)
    got = 4 + len(lengths)
    if len(lengths) < 4 * axes:
        raise DataError(f"{path}: got {got} bytes, wanted the lengths of {axes} axes")
    shape = struct.unpack(f">{axes}I", lengths)
    wanted = got + math.prod(shape) * dtype.itemsize
    if wanted > DENSEST * size if packed else wanted != size:
        raise DataError(f"{path}: got {size} bytes, wanted {wanted} for an array of shape {shape}")
    require_memory(path, wanted)
    try:
        values = np.empty(shape, dtype.newbyteorder("="))
    except ValueError as error:  # NumPy knows 64 axes at most, and bounds their lengths even if one of them is 0
        raise DataError(f"{path}: got an array of shape {shape}, which cannot be held ({error})") from None
    rest = values.reshape(-1).view(np.uint8)
    while rest.size and (piece := file.read(min(PIECE, rest.size))):
        rest[: len(piece)] = np.frombuffer(piece, np.uint8)
        rest = rest[len(piece) :]
    if rest.size or file.read(PIECE):  # a damaged file is found so, where it ends before that
        found = f"{wanted - rest.size} bytes" if rest.size else f"more than {wanted} bytes"
        raise DataError(f"{path}: got {found}, wanted {wanted} for an array of shape {shape}")
    return values.byteswap(inplace=True) if sys.byteorder == "little" else values


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
    import http.client  # takes a while, and is seldom needed
    import urllib.error
    import urllib.request

    path, sha256, timeout = Path(checked(path)), text("sha256", sha256), above_zero("timeout", timeout)
    if path.exists():
        with content(path) as old:
            _check(old, sha256, f"{path}")
        return path
    try:
        with urllib.request.urlopen(text("url", url), timeout=timeout) as answer:
            new = bytearray()
            while piece := answer.read(PIECE):
                new += piece
                require_memory(url, len(new))
    except (OSError, http.client.HTTPException) as error:  # URLError and timeouts among them
        why = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ConnectionError(f"{url}: cannot be fetched ({why}); without a network, put the file at {path}") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"url: got {url!r}, wanted one that can be fetched ({error})") from None
    _check(new, sha256, url)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, new)
    return path


def _check(found: bytes | bytearray, sha256: str, what: str) -> None:
    got = hashlib.sha256(found).hexdigest()
    if got != sha256.lower():
        raise DataError(f"{what}: got the SHA-256 {got}, wanted {sha256}: this is not the file that was meant")
