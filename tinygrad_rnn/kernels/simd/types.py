"""The Numba types `Vec` and `Mask`, and the LLVM building blocks that `lanes` and `tile` are made of."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import models, register_model

from ..build.target import TARGET, config

LANES_F32 = TARGET.vector_bytes // 4
LANES_F64 = TARGET.vector_bytes // 8
HAS_FMA = TARGET.has_fma
BOUNDSCHECK = bool(config.BOUNDSCHECK)

I1, I32 = ir.IntType(1), ir.IntType(32)


def lanes_of(dtype: Any) -> int:
    """Return the number of lanes of a vector of `dtype` (float32 or float64)."""
    return TARGET.vector_bytes // np.dtype(dtype).itemsize


class _Lanes(types.Type):
    def __init__(self, kind: str, dtype: types.Float):
        self.dtype = dtype
        self.lanes = TARGET.vector_bytes * 8 // dtype.bitwidth
        super().__init__(name=f"{kind}({dtype} x {self.lanes})")


class Vec(_Lanes):
    """The Numba type of a vector of float32 or float64."""

    def __init__(self, dtype: types.Float):
        super().__init__("Vec", dtype)

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType() if self.dtype == types.float32 else ir.DoubleType(), self.lanes)

    @property
    def llvm_int(self) -> ir.VectorType:
        return ir.VectorType(ir.IntType(self.dtype.bitwidth), self.lanes)


class Mask(_Lanes):
    """The Numba type of one truth value per lane, as comparisons of vectors give it."""

    def __init__(self, dtype: types.Float):
        super().__init__("Mask", dtype)

    @property
    def llvm(self) -> ir.VectorType:
        return ir.VectorType(I1, self.lanes)


@register_model(Vec)
@register_model(Mask)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, dmm: Any, fe_type: Any):
        super().__init__(dmm, fe_type, fe_type.llvm)


def vec_of(*args: Any) -> Vec | None:
    """Return the vector type that types of vectors, masks, float arrays and numbers agree on, or None."""
    found = None
    for arg in args:
        is_float_array = isinstance(arg, types.Array) and arg.dtype in (types.float32, types.float64)
        if is_float_array or isinstance(arg, _Lanes):
            vec = Vec(arg.dtype)
        elif isinstance(arg, types.Number):
            continue
        else:
            return None
        if found not in (None, vec):
            return None
        found = vec
    return found


def constant(vec: ir.VectorType, value: Any) -> ir.Constant:
    """A vector constant with the same value in every lane."""
    return ir.Constant(vec, [value] * vec.count)


def splat(builder: ir.IRBuilder, vec: ir.VectorType, scalar: Any) -> Any:
    """Copy a scalar into every lane."""
    undefined = ir.Constant(vec, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, constant(ir.VectorType(I32, vec.count), 0))


def as_vec(context: Any, builder: ir.IRBuilder, value: Any, given: Any, vec: Vec) -> Any:
    """Convert an argument of type `given` (a vector or a number) to the vector type."""
    if isinstance(given, Vec):
        return value
    return splat(builder, vec.llvm, context.cast(builder, value, given, vec.dtype))


def fma(builder: ir.IRBuilder, a: Any, b: Any, c: Any) -> Any:
    """``a * b + c``, rounded once where the machine can do so."""
    if HAS_FMA:
        return call_intrinsic(builder, "fma", [a, b, c])
    return builder.fadd(builder.fmul(a, b), c)


def call_intrinsic(builder: ir.IRBuilder, name: str, args: list[Any], result: Any = None) -> Any:
    """Call ``llvm.<name>`` for the type of the first argument."""
    vec = args[0].type
    suffix = f"v{vec.count}{'f32' if isinstance(vec.element, ir.FloatType) else 'f64'}"
    function = ir.FunctionType(result or vec, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, f"llvm.{name}.{suffix}"), args)


def fence(builder: ir.IRBuilder, value: Any) -> Any:
    """The same number or vector with its origin hidden from LLVM; costs no instruction."""
    count = f"v{value.type.count}" if isinstance(value.type, ir.VectorType) else ""
    element = value.type.element if count else value.type
    suffix = count + ("f32" if isinstance(element, ir.FloatType) else "f64")
    function = ir.FunctionType(value.type, [value.type])
    name = f"llvm.arithmetic.fence.{suffix}"
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), [value])


def address(context: Any, builder: ir.IRBuilder, array_type: Any, array: Any, index: Any, count: Any) -> Any:
    """The address of ``array[index]``; with bounds checks, `count` elements have to follow."""

    def member(name):
        return builder.extract_value(array, context.data_model_manager[array_type].get_field_position(name))

    if BOUNDSCHECK:
        end = builder.add(index, count)
        outside = builder.or_(
            builder.icmp_signed("<", index, index.type(0)), builder.icmp_signed(">", end, member("nitems"))
        )
        with builder.if_then(outside, likely=False):
            context.call_conv.return_user_exc(builder, IndexError, ("vector access outside of the array",))
    return builder.gep(member("data"), [index])


def load(builder: ir.IRBuilder, pointer: Any, vec: Vec) -> Any:
    """Load a vector; only the alignment of an element is assumed."""
    loaded = builder.load(builder.bitcast(pointer, vec.llvm.as_pointer()))
    loaded.align = vec.dtype.bitwidth // 8
    return loaded


def store(builder: ir.IRBuilder, pointer: Any, value: Any, vec: Vec) -> None:
    """Store a vector; only the alignment of an element is assumed."""
    builder.store(value, builder.bitcast(pointer, vec.llvm.as_pointer())).align = vec.dtype.bitwidth // 8


def prefetch(builder: ir.IRBuilder, pointer: Any) -> None:
    """Fetch the line of an address, which need not be valid, into the second-level cache."""
    hints = [I32(0), I32(2), I32(1)]  # read, locality, data
    function = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    call = cgutils.get_or_insert_function(builder.module, function, "llvm.prefetch.p0")
    builder.call(call, [pointer, *hints])


def first_lanes(builder: ir.IRBuilder, vec: Vec, n: Any) -> Any:
    """The mask of the first n lanes; n may be negative or larger than the number of lanes, but not huge."""
    indices = vec.llvm_int
    if n.type.width > indices.element.width:
        n = builder.trunc(n, indices.element)  # one comparison of a register instead of several
    elif n.type.width < indices.element.width:
        n = builder.sext(n, indices.element)
    return builder.icmp_signed("<", ir.Constant(indices, list(range(vec.lanes))), splat(builder, indices, n))


def _masked(builder: ir.IRBuilder, name: str, result: Any, vec: Vec, args: list[Any]) -> Any:
    # the alignment comes after the pointer; LLVM renames the intrinsic for the way it spells pointers itself
    name = f"llvm.masked.{name}.v{vec.lanes}f{vec.dtype.bitwidth}.p0"
    function = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, function, name), args)


def masked_load(builder: ir.IRBuilder, pointer: Any, mask: Any, vec: Vec) -> Any:
    """Load the lanes of the mask; the others are 0."""
    pointer = builder.bitcast(pointer, vec.llvm.as_pointer())
    align = ir.Constant(I32, vec.dtype.bitwidth // 8)
    return _masked(builder, "load", vec.llvm, vec, [pointer, align, mask, constant(vec.llvm, 0.0)])


def masked_store(builder: ir.IRBuilder, pointer: Any, value: Any, mask: Any, vec: Vec) -> None:
    """Store the lanes of the mask."""
    pointer = builder.bitcast(pointer, vec.llvm.as_pointer())
    align = ir.Constant(I32, vec.dtype.bitwidth // 8)
    _masked(builder, "store", ir.VoidType(), vec, [value, pointer, align, mask])


def store_first(builder: ir.IRBuilder, pointer: Any, value: Any, n: Any, vec: Vec) -> None:
    """Store the first n lanes; n may be negative or larger than the number of lanes, but not huge.

    Without AVX-512 a store by a mask takes a dozen cycles on some machines, and whoever reads it has to wait until it
    is in the cache. Nearly all are of whole vectors; others are stored in halves, quarters and so on.
    """
    whole = builder.icmp_signed(">=", n, ir.Constant(n.type, vec.lanes))
    with builder.if_else(whole, likely=True) as (then, otherwise):
        with then:
            store(builder, pointer, value, vec)
        with otherwise:
            if TARGET.vector_bytes > 32:
                masked_store(builder, pointer, value, first_lanes(builder, vec, n), vec)
            else:
                _store_in_parts(builder, pointer, value, n, vec)


def _store_in_parts(builder: ir.IRBuilder, pointer: Any, value: Any, n: Any, vec: Vec) -> None:
    """Store the first n lanes, which are not all: those of each power of two in n, the largest first."""
    zero = ir.Constant(n.type, 0)
    n = builder.select(builder.icmp_signed(">", n, zero), n, zero)
    size = vec.lanes // 2
    while size:
        with builder.if_then(builder.icmp_signed("!=", builder.and_(n, ir.Constant(n.type, size)), zero)):
            at = builder.and_(n, ir.Constant(n.type, -2 * size))  # behind those that are stored already
            part = _lanes(builder, value, 0, size)
            for first in range(2 * size, vec.lanes, 2 * size):
                here = builder.icmp_signed("==", at, ir.Constant(n.type, first))
                part = builder.select(here, _lanes(builder, value, first, size), part)
            target = builder.bitcast(builder.gep(pointer, [at]), part.type.as_pointer())
            builder.store(part, target).align = vec.dtype.bitwidth // 8
        size //= 2


def _lanes(builder: ir.IRBuilder, value: Any, first: int, size: int) -> Any:
    """So many lanes of a vector, from one on."""
    places = ir.Constant(ir.VectorType(I32, size), list(range(first, first + size)))
    return builder.shuffle_vector(value, ir.Constant(value.type, ir.Undefined), places)


def is_array(array: Any) -> bool:
    """Whether this is a type that lanes can be loaded from: a 1-D contiguous float array."""
    return isinstance(array, types.Array) and array.ndim == 1 and array.layout == "C" and vec_of(array) is not None


def float_layout(vec: Vec) -> tuple[int, int]:
    """Bits of the fraction, and bias of the exponent."""
    return (23, 127) if vec.dtype == types.float32 else (52, 1023)
