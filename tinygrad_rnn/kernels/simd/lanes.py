"""An explicit SIMD type for Numba, in float32 and float64.

A `Vec` is one vector register: 16 / 8 / 4 lanes of float32 and half as many of float64, as the machine
has them (AVX-512 / AVX / SSE2 and NEON). A `Mask` holds one truth value per lane. In jitted code they
read like scalars: the operators ``+ - * /`` and the comparisons accept vectors and Python numbers, which
are rounded to the vector's type.

    v = vload(a, i)                      # lanes a[i], a[i + 1], ...; the type follows the array
    v = vselect(v < 0.0, 0.1 * v, v)
    vstore(out, i, v)

Every operation rounds exactly as IEEE 754 says: no fast-math flag is ever set, so NaN and infinities flow
as in NumPy and results do not depend on how the compiler arranges the code. Fusing is explicit, with
`vfma`. Loads and stores need no alignment. With ``NUMBA_BOUNDSCHECK=1`` they raise IndexError instead of
leaving the array.

The file is a list, in the order memory, arithmetic, sums over lanes, masks; it is long so that kernels and generated
loops import all of the language from one place.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import operators  # noqa: F401 - gives vectors their operators
from .types import (  # noqa: F401 - for callers
    BOUNDSCHECK,
    HAS_FMA,
    I32,
    LANES_F32,
    LANES_F64,
    Mask,
    Vec,
    address,
    as_vec,
    call_intrinsic,
    constant,
    fence,
    first_lanes,
    float_layout,
    fma,
    is_array,
    lanes_of,
    load,
    masked_load,
    splat,
    store,
    store_first,
    vec_of,
)

# Memory


@intrinsic
def vload(typingctx, array, index):
    """Load ``array[index : index + lanes]``."""
    if not is_array(array):
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        count = ir.Constant(args[1].type, vec.lanes)
        return load(builder, address(context, builder, sig.args[0], *args, count), vec)

    return vec(array, types.intp), codegen


@intrinsic
def vstore(typingctx, array, index, value):
    """Store a vector (or a number into every lane) at ``array[index : index + lanes]``."""
    if not is_array(array) or vec_of(array, value) is None:
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        count = ir.Constant(args[1].type, vec.lanes)
        pointer = address(context, builder, sig.args[0], args[0], args[1], count)
        store(builder, pointer, as_vec(context, builder, args[2], sig.args[2], vec), vec)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def vload_n(typingctx, array, index, n):
    """Load ``array[index : index + n]`` into the first n lanes; the others are 0."""
    if not is_array(array):
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        pointer = address(context, builder, sig.args[0], *args)
        return masked_load(builder, pointer, first_lanes(builder, vec, args[2]), vec)

    return vec(array, types.intp, types.intp), codegen


@intrinsic
def vstore_n(typingctx, array, index, value, n):
    """Store the first n lanes at ``array[index : index + n]``."""
    if not is_array(array) or vec_of(array, value) is None:
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        pointer = address(context, builder, sig.args[0], args[0], args[1], args[3])
        v = as_vec(context, builder, args[2], sig.args[2], vec)
        store_first(builder, pointer, v, args[3], vec)
        return context.get_dummy_value()

    return types.void(array, types.intp, value, types.intp), codegen


@intrinsic
def lane_mask(typingctx, n, like):
    """Return the mask of the first n lanes of a vector of the type of `like`."""
    vec = vec_of(like)
    if vec is None:
        return None
    return Mask(vec.dtype)(types.intp, like), lambda context, builder, sig, args: first_lanes(builder, vec, args[0])


@intrinsic
def vbroadcast(typingctx, array, index):
    """Copy ``array[index]`` into every lane."""
    if not is_array(array):
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        one = ir.Constant(args[1].type, 1)
        return splat(builder, vec.llvm, builder.load(address(context, builder, sig.args[0], *args, one)))

    return vec(array, types.intp), codegen


@intrinsic
def vgather(typingctx, array, index, table, at):
    """Load ``array[index + n]`` for the n at ``at, at + 1, ...`` of a table; 0 where n is negative.

    `table` is the address of an array of int64, which holds a number for each lane.
    """
    if not is_array(array):
        return None
    vec = Vec(array.dtype)

    def codegen(context, builder, sig, args):
        numbers = builder.inttoptr(args[2], args[3].type.as_pointer())
        numbers, zero, one = builder.gep(numbers, [args[3]]), args[3].type(0), ir.Constant(args[1].type, 1)
        result = constant(vec.llvm, 0.0)
        for lane in range(vec.lanes):
            n = builder.load(builder.gep(numbers, [args[3].type(lane)]))
            absent = builder.icmp_signed("<", n, zero)
            place = builder.add(args[1], builder.select(absent, zero, n))
            x = builder.load(address(context, builder, sig.args[0], args[0], place, one))
            x = builder.select(absent, x.type(0.0), x)
            result = builder.insert_element(result, x, ir.Constant(I32, lane))
        return result

    return vec(array, types.intp, types.intp, types.intp), codegen


@intrinsic
def vlookup(typingctx, array, index, places, count):
    """Load ``array[index + n]`` for the whole numbers n in the lanes of `places`.

    For those that are not from 0 to below `count`, n is 0. So lanes beyond the end of a row, which hold anything, read
    nothing outside.
    """
    vec = vec_of(places)
    if not is_array(array) or vec is None:
        return None

    def codegen(context, builder, sig, args):
        zero, one = args[3].type(0), ir.Constant(args[1].type, 1)
        result, end = constant(vec.llvm, 0.0), builder.sitofp(args[3], vec.llvm.element)
        for lane in range(vec.lanes):
            x = builder.extract_element(args[2], ir.Constant(I32, lane))
            inside = builder.and_(builder.fcmp_ordered(">=", x, x.type(0.0)), builder.fcmp_ordered("<", x, end))
            n = builder.fptosi(builder.select(inside, x, x.type(0.0)), zero.type)
            found = builder.load(address(context, builder, sig.args[0], args[0], builder.add(args[1], n), one))
            result = builder.insert_element(result, found, ir.Constant(I32, lane))
        return result

    return vec(array, types.intp, places, types.intp), codegen


@intrinsic
def row_number(typingctx, array, index, count):
    """``array[index]``, a float, as an integer; -1 for what is none from 0 to below `count`."""
    if not is_array(array):
        return None

    def codegen(context, builder, sig, args):
        one = ir.Constant(args[1].type, 1)
        x = builder.load(address(context, builder, sig.args[0], args[0], args[1], one))
        end = builder.sitofp(args[2], x.type)
        inside = builder.and_(builder.fcmp_ordered(">=", x, x.type(0.0)), builder.fcmp_ordered("<", x, end))
        return builder.select(inside, builder.fptosi(builder.select(inside, x, x.type(0.0)), one.type), one.type(-1))

    return types.intp(array, types.intp, types.intp), codegen


@intrinsic
def integer(typingctx, table, index):
    """``table[index]`` of a 1-D array of int64, without the many ways of indexing that Numba compiles."""
    if table != types.Array(types.int64, 1, "C"):
        return None

    def codegen(context, builder, sig, args):
        return builder.load(address(context, builder, sig.args[0], *args, ir.Constant(args[1].type, 1)))

    return types.int64(table, types.intp), codegen


@intrinsic
def vsplat(typingctx, x, like):
    """Copy the number x into every lane of a vector of the type of `like`, an array, a vector or a mask."""
    vec = vec_of(like)
    if vec is None or not isinstance(x, types.Number):
        return None
    return vec(x, like), lambda context, builder, sig, args: as_vec(context, builder, args[0], sig.args[0], vec)


@intrinsic
def vget(typingctx, v, lane):
    """Return one lane as a scalar."""
    if not isinstance(v, Vec):
        return None
    return v.dtype(v, types.intp), lambda context, builder, sig, args: builder.extract_element(*args)


@intrinsic
def vlanes(typingctx, like):
    """Return the number of lanes of a vector, or of the vectors of an array."""
    vec = vec_of(like)
    if vec is None:
        return None
    return types.intp(like), lambda context, builder, sig, args: context.get_constant(types.intp, vec.lanes)


@intrinsic
def vput(typingctx, v, lane, x):
    """Return v with one lane replaced by the scalar x."""
    if not isinstance(v, Vec):
        return None
    return v(v, types.intp, v.dtype), lambda context, builder, sig, args: builder.insert_element(
        args[0], args[2], args[1]
    )


# Arithmetic: the operators, and functions of one, two or three vectors


def _unary(name, doc, emit):
    def function(typingctx, v):
        if not isinstance(v, Vec):
            return None
        return v(v), lambda context, builder, sig, args: emit(builder, args[0])

    function.__name__, function.__doc__ = name, doc
    return intrinsic(function)


def _binary(name, doc, emit):
    def function(typingctx, a, b):
        vec = vec_of(a, b)
        if vec is None or isinstance(a, Mask) or isinstance(b, Mask):
            return None

        def codegen(context, builder, sig, args):
            return emit(builder, *(as_vec(context, builder, x, t, vec) for x, t in zip(args, sig.args)))

        return vec(a, b), codegen

    function.__name__, function.__doc__ = name, doc
    return intrinsic(function)


def _round_half_even(builder, v):
    return call_intrinsic(builder, "rint", [v])


def _greater_or_nan(builder, a, b, comparison):
    # NumPy returns the first NaN: a if a is NaN, b if the comparison with b is false
    chosen = builder.select(builder.fcmp_ordered(comparison, a, b), a, b)
    return builder.select(builder.fcmp_unordered("uno", a, a), a, chosen)


def _halves(builder, v, combine):
    """Combine the upper with the lower half until one lane is left: always the same order.

    LLVM may not look through the result. If it does, and of what is made of the result only the first lane is used,
    LLVM 22 combines this lane with itself for AVX-512.
    """
    undefined = ir.Constant(v.type, ir.Undefined)
    count = v.type.count
    while count > 1:
        count //= 2
        lanes = [count + i if i < count else i for i in range(v.type.count)]
        v = combine(v, builder.shuffle_vector(v, undefined, ir.Constant(ir.VectorType(I32, len(lanes)), lanes)))
    return fence(builder, builder.extract_element(v, ir.Constant(I32, 0)))


vabs = _unary("vabs", "Absolute value.", lambda b, v: call_intrinsic(b, "fabs", [v]))
vsqrt = _unary("vsqrt", "Square root; NaN below zero.", lambda b, v: call_intrinsic(b, "sqrt", [v]))
vfloor = _unary("vfloor", "Largest integer not above.", lambda b, v: call_intrinsic(b, "floor", [v]))
vround = _unary("vround", "Nearest integer, halves to even.", _round_half_even)
vmin = _binary("vmin", "Smaller of both; NaN if either is.", lambda b, x, y: _greater_or_nan(b, x, y, "<"))
vmax = _binary("vmax", "Larger of both; NaN if either is.", lambda b, x, y: _greater_or_nan(b, x, y, ">"))
vcopysign = _binary(
    "vcopysign", "First with the sign of the second.", lambda b, x, y: call_intrinsic(b, "copysign", [x, y])
)


@intrinsic
def vbits(typingctx, a, b):
    """The bits that two whole numbers share, ``a & b``, as in two's complement.

    For numbers that a float may have rounded, 2 ** 24 in float32 and 2 ** 53 in float64, and for what is none, 0.
    """
    vec = vec_of(a, b)
    if vec is None or isinstance(a, Mask) or isinstance(b, Mask):
        return None

    def codegen(context, builder, sig, args):
        most = constant(vec.llvm, 2.0 ** (float_layout(vec)[0] + 1))
        whole = []
        for x, given in zip(args, sig.args):
            x = as_vec(context, builder, x, given, vec)
            small = builder.fcmp_ordered("<", call_intrinsic(builder, "fabs", [x]), most)
            whole.append(builder.fptosi(builder.select(small, x, constant(vec.llvm, 0.0)), vec.llvm_int))
        return builder.sitofp(builder.and_(*whole), vec.llvm)

    return vec(a, b), codegen


@intrinsic
def vclamp(typingctx, v, low, high):
    """Clamp v to [low, high], which are not NaN; a NaN in v stays. Cheaper than `vmin` and `vmax`."""
    vec = vec_of(v, low, high)
    if not isinstance(v, Vec) or vec is None:
        return None

    def codegen(context, builder, sig, args):
        x, lo, hi = (as_vec(context, builder, a, t, vec) for a, t in zip(args, sig.args))
        # comparisons with NaN are false, so it is never replaced
        x = builder.select(builder.fcmp_ordered(">", lo, x), lo, x)
        return builder.select(builder.fcmp_ordered("<", hi, x), hi, x)

    return vec(v, low, high), codegen


@intrinsic
def vfma(typingctx, a, b, c):
    """``a * b + c``, rounded once where the machine has the instruction (see `HAS_FMA`)."""
    vec = vec_of(a, b, c)
    if vec is None:
        return None

    def codegen(context, builder, sig, args):
        return fma(builder, *(as_vec(context, builder, x, t, vec) for x, t in zip(args, sig.args)))

    return vec(a, b, c), codegen


@intrinsic
def vpoly(typingctx, x, coefficients32, coefficients64):
    """Polynomial by Horner's scheme, highest power first: one tuple for float32, one for float64."""
    if not isinstance(x, Vec):
        return None
    chosen = 1 if x.dtype == types.float32 else 2

    def codegen(context, builder, sig, args):
        given = sig.args[chosen]
        terms = [builder.extract_value(args[chosen], i) for i in range(len(given))]
        terms = [as_vec(context, builder, c, t, x) for c, t in zip(terms, given.types)]
        result = terms[0]
        for term in terms[1:]:
            result = fma(builder, result, args[0], term)
        return result

    return x(x, coefficients32, coefficients64), codegen


@intrinsic
def vpick(typingctx, like, for32, for64):
    """A number in every lane: the first for float32, the second for float64."""
    vec = vec_of(like)
    if vec is None:
        return None
    chosen = 1 if vec.dtype == types.float32 else 2
    return vec(like, for32, for64), lambda context, builder, sig, args: as_vec(
        context, builder, args[chosen], sig.args[chosen], vec
    )


@intrinsic(prefer_literal=True)
def vpow2(typingctx, x, factor, shift):
    """Return ``n = round(x * factor)`` and ``2 ** (n + shift)``, both normal; shift is a literal."""
    if not isinstance(x, Vec) or not isinstance(shift, types.IntegerLiteral):
        return None

    def codegen(context, builder, sig, args):
        fraction, bias = float_layout(x)
        # adding 1.5 * 2**fraction rounds to an integer and leaves it, biased, in the low bits
        magic = constant(x.llvm, 1.5 * 2.0**fraction + bias + shift.literal_value)
        biased = fma(builder, args[0], as_vec(context, builder, args[1], sig.args[1], x), magic)
        power = builder.shl(builder.bitcast(biased, x.llvm_int), constant(x.llvm_int, fraction))
        return cgutils.pack_array(builder, [builder.fsub(biased, magic), builder.bitcast(power, x.llvm)])

    return types.UniTuple(x, 2)(x, factor, shift), codegen


@intrinsic
def vsplit(typingctx, v):
    """Split positive normal numbers into m in [sqrt(1/2), sqrt(2)) and e, with ``v == m * 2**e``."""
    if not isinstance(v, Vec):
        return None

    def codegen(context, builder, sig, args):
        fraction, bias = float_layout(v)
        root = 0x3F3504F3 if v.dtype == types.float32 else 0x3FE6A09E667F3BCD
        one = bias << fraction
        # moved by 1 - sqrt(1/2), as integers, so that exponents change at sqrt(1/2) and not at 1
        bits = builder.add(builder.bitcast(args[0], v.llvm_int), constant(v.llvm_int, one - root))
        exponent = builder.lshr(bits, constant(v.llvm_int, fraction))
        magic = int(np.array(2.0**fraction, f"f{v.dtype.bitwidth // 8}").view(f"i{v.dtype.bitwidth // 8}"))
        # an integer becomes a float without a conversion: in the low bits of 2**fraction it counts from there on
        exponent = builder.bitcast(builder.or_(exponent, constant(v.llvm_int, magic)), v.llvm)
        exponent = builder.fsub(exponent, constant(v.llvm, 2.0**fraction + bias))
        mantissa = builder.and_(bits, constant(v.llvm_int, (1 << fraction) - 1))
        mantissa = builder.bitcast(builder.add(mantissa, constant(v.llvm_int, root)), v.llvm)
        return cgutils.pack_array(builder, [mantissa, exponent])

    return types.UniTuple(v, 2)(v), codegen


@intrinsic
def vsum(typingctx, v):
    """Sum of the lanes as a scalar, halves upon halves: always the same order, so always the same bits."""
    if not isinstance(v, Vec):
        return None
    return v.dtype(v), lambda context, builder, sig, args: _halves(builder, args[0], builder.fadd)


@intrinsic
def vhmax(typingctx, v):
    """Largest lane as a scalar; NaN if any lane is."""
    if not isinstance(v, Vec):
        return None
    return v.dtype(v), lambda context, builder, sig, args: _halves(
        builder, args[0], lambda a, b: _greater_or_nan(builder, a, b, ">")
    )


@intrinsic
def vhmin(typingctx, v):
    """Smallest lane as a scalar; NaN if any lane is."""
    if not isinstance(v, Vec):
        return None
    return v.dtype(v), lambda context, builder, sig, args: _halves(
        builder, args[0], lambda a, b: _greater_or_nan(builder, a, b, "<")
    )


def _every_second(first):
    def function(typingctx, v):
        if not isinstance(v, Vec):
            return None

        def codegen(context, builder, sig, args):
            lanes = [(2 * i + first) % v.lanes for i in range(v.lanes)]
            mask = ir.Constant(ir.VectorType(I32, v.lanes), lanes)
            return fence(builder, builder.shuffle_vector(args[0], args[0], mask))  # see _halves()

        return v(v), codegen

    function.__name__, function.__doc__ = ("veven", "vodd")[first], f"Lanes {first}, {first + 2}, ..., and again."
    return intrinsic(function)


veven, vodd = _every_second(0), _every_second(1)


# Masks


@intrinsic
def vselect(typingctx, mask, a, b):
    """a where the mask is true, b elsewhere; either may be a number."""
    vec = vec_of(mask, a, b)
    if not isinstance(mask, Mask) or vec is None:
        return None

    def codegen(context, builder, sig, args):
        x, y = (as_vec(context, builder, args[i], sig.args[i], vec) for i in (1, 2))
        return builder.select(args[0], x, y)

    return vec(mask, a, b), codegen


def _reduce_mask(builder, mask):
    return builder.bitcast(mask, ir.IntType(mask.type.count))


@intrinsic
def vany(typingctx, mask):
    """Whether any lane is true."""
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        bits = _reduce_mask(builder, args[0])
        return builder.icmp_unsigned("!=", bits, bits.type(0))

    return types.boolean(mask), codegen


@intrinsic
def vall(typingctx, mask):
    """Whether every lane is true."""
    if not isinstance(mask, Mask):
        return None

    def codegen(context, builder, sig, args):
        bits = _reduce_mask(builder, args[0])
        return builder.icmp_unsigned("==", bits, bits.type(-1))

    return types.boolean(mask), codegen
