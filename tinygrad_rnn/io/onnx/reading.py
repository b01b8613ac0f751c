"""A file of ONNX as a model in memory, with tensors of other files in its folder; and what it may be."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...data._files import memory
from ...errors import CheckpointError

OLDEST, NEWEST = 7, 28  # opsets of the standard operators that are known here
DOMAINS = ("", "ai.onnx")
WHERE = ("location", "offset", "length", "checksum")  # keys of what is kept in another file
DTYPES = {  # TensorProto.DataType -> NumPy
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "bool", 11: "float64",
    12: "uint32", 13: "uint64",
}  # fmt: skip
CONVERT = f", wanted one of {', '.join(DTYPES.values())}; convert the model first"


def import_onnx() -> Any:
    """The library, or an error that says how to get it."""
    try:
        import onnx
        import onnx.checker
        import onnx.numpy_helper
    except ImportError:
        raise CheckpointError(
            'from_onnx reads files by the library onnx, which is not there: pip install "tinygrad_rnn[onnx]"'
        ) from None
    return onnx


def read(data: bytes, folder: Path) -> Any:
    """The model in a file's bytes, with all of its tensors in memory; `folder` is where the file lies."""
    onnx = import_onnx()
    if not data:
        raise CheckpointError("is empty")
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # of the library that decodes
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"cannot be read as ONNX: {line}") from None
    for owner, tensor in tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.raw_data = _outside(owner, tensor, folder)
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    return model


def check_versions(model: Any) -> int:
    """The opset of the standard operators in a model that has a graph."""
    if not model.HasField("graph") or not model.graph.output:
        raise CheckpointError("holds no graph with outputs; wanted a model of ONNX")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    found = [versions[domain] for domain in DOMAINS if domain in versions]
    if not found:
        raise CheckpointError("does not say of which opset its operators are")
    if not OLDEST <= found[0] <= NEWEST:
        raise CheckpointError(f"is of opset {found[0]}, wanted {OLDEST} to {NEWEST}: see onnx.version_converter")
    if model.functions:
        names = ", ".join(f.name for f in model.functions)
        raise CheckpointError(f"defines functions ({names[:100]}): see onnx.inliner.inline_local_functions")
    if model.graph.sparse_initializer:
        raise CheckpointError("holds sparse initializers, wanted dense ones")
    return found[0]


def check_whole(model: Any) -> None:
    """What the library's own checker finds: names, order, attributes and arguments of all nodes."""
    onnx = import_onnx()
    if model.ByteSize() >= 2**31 - 1:  # which it cannot look at
        return
    for value in (*model.graph.input, *model.graph.output):  # may have no shape, but for the checker
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # ValidationError, and what hostile bytes make of it
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise CheckpointError(f"is no valid model: {lines[0] if lines else type(error).__name__}") from None


def tensors(graph: Any, owner: str = "") -> Iterator[tuple[str, Any]]:
    """All tensors of a graph and of graphs inside of its nodes, with a name for messages."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            name = f"{node.name or node.op_type}.{attribute.name}"
            for tensor in (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors):
                yield name, tensor
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from tensors(inner, name)


def array_of(name: str, tensor: Any) -> np.ndarray:
    """The values of a tensor, as many as its shape claims."""
    onnx = import_onnx()
    dtype, shape = _kind(name, tensor)
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # of values that are too few, or too many
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"holds {name} {shape}, whose values cannot be read: {line}") from None
    if array.shape != shape:
        raise CheckpointError(f"holds {name} with {array.size} values, wanted {shape}")
    return np.array(array, dtype)


def type_name(number: int) -> str:
    """The name of a type of elements, for messages."""
    types = import_onnx().TensorProto.DataType
    return types.Name(number) if number in types.values() else f"type {number}"


def _kind(name: str, tensor: Any) -> tuple[np.dtype, tuple[int, ...]]:
    """Dtype and shape that a tensor claims, if they can be true."""
    if tensor.data_type not in DTYPES:
        raise CheckpointError(f"holds {name} as {type_name(tensor.data_type)}{CONVERT}")
    dtype, shape = np.dtype(DTYPES[tensor.data_type]), tuple(tensor.dims)
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > memory():
        raise CheckpointError(f"holds {name} {shape} of {dtype}, which is no shape, or larger than the memory")
    return dtype, shape


def _outside(name: str, tensor: Any, folder: Path) -> bytes:
    """The bytes of a tensor that is kept in another file, which has to lie in the folder of the model."""
    dtype, shape = _kind(name, tensor)
    entries = {entry.key: entry.value for entry in tensor.external_data if entry.key in WHERE}
    location = entries.get("location", "")
    size = math.prod(shape) * dtype.itemsize
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        raise CheckpointError(f"keeps {name} at an offset that is no number") from None
    base = Path(os.path.realpath(folder))
    target = Path(os.path.realpath(base / location)) if location and "\0" not in location else base
    if os.path.isabs(location) or base not in target.parents:
        raise CheckpointError(f"keeps {name} in {location!r}, wanted a file in its own folder; nothing else is read")
    if not target.is_file():
        raise CheckpointError(f"keeps {name} in {location!r}, which is no file")
    if length != size or offset < 0 or offset + length > target.stat().st_size:
        raise CheckpointError(
            f"keeps {name} {shape} of {dtype} in {location!r}: got {length} bytes from {offset} on, wanted {size} "
            f"of {target.stat().st_size}"
        )
    with target.open("rb") as file:
        file.seek(offset)
        data = file.read(length)
    if len(data) != length:
        raise CheckpointError(f"keeps {name} in {location!r}, which is shorter than that")
    return data
