"""The operations of a model outside of its loops become C: arrays of any rank, for a batch of one row.

Whole numbers and truth values are numbers of the file's dtype, like all others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...compiler.ir.lane_language import TRUTH, ReductionCode, elementwise_code, parse
from ..graph import Constant, Fill, Node, Parameter, Range, Value
from .arrays import Array, Length, Lengths, broadcast, constant, nested, packed, plus, product, times
from .expressions import printed
from .functions import Dialect
from .weights import Weights


class GraphWriter:
    """Lines of C, and the array of each value.

    Parameters
    ----------
    constants : dict of id to array
        Values that no call changes.
    length : Lengths
        Of axes, with the sizes that are known.
    weights : Weights
    dialect : Dialect

    Attributes
    ----------
    lines : list of str
    scratch : int
        Bytes of the arrays on the stack.
    work : list of Length
        Lengths of the arrays in the caller's memory, those that differ from call to call.
    """

    def __init__(self, constants: Mapping[int, np.ndarray], length: Lengths, weights: Weights, dialect: Dialect):
        self.constants, self.length, self.weights, self.dialect = constants, length, weights, dialect
        self.lines: list[str] = []
        self.scratch = 0
        self.work: list[Length] = []
        self.arrays: dict[int, Array] = {}
        self._count = 0

    # ---- arrays

    def literal(self, value: Any) -> str:
        """C for a number."""
        return self.length.number(value, self.dialect)

    def of(self, value: Any) -> Array:
        """The array of a value, or of a Python number."""
        if not isinstance(value, Value):
            return constant((), self.literal(value))
        found = self.arrays.get(id(value))
        if found is None:
            found = self.arrays[id(value)] = self._given(value)
        return found

    def _given(self, value: Value) -> Array:
        shape = tuple(map(self.length, value.shape))
        if isinstance(value, Fill):
            return constant(shape, self.literal(value.value))
        if id(value) in self.constants:
            array = np.asarray(self.constants[id(value)])
            if array.size == 1:
                return constant(shape, self.dialect.number(array.reshape(-1)[0]))
            hint = value.name if isinstance(value, Parameter) else "constant"
            return packed(shape, self.weights.vector(array.astype(self.dialect.dtype), hint))
        assert isinstance(value, Range)
        text = f"({self.literal(value.start)} + {self.literal(value.step)} * ({self.dialect.real}){{}})"
        return Array(shape, "", tuple(int(i == value.axis) for i in range(len(shape))), text)

    def known(self, value: Any) -> np.ndarray | None:
        """The numbers of a value that no call changes."""
        if isinstance(value, Parameter | Constant):
            return value.array
        return self.constants.get(id(value))

    def new(self, shape: Sequence[Length]) -> Array:
        """Memory for a new array."""
        name, size = f"v{self._count}", product(shape)
        self._count += 1
        if isinstance(size, int):
            self.lines.append(f"{self.dialect.real} {name}[{max(1, size)}];")
            self.scratch += size * self.dialect.dtype.itemsize
        else:
            self.lines.append(f"{self.dialect.real} *restrict {name} = work;")
            self.lines.append(f"work += {size};")
            self.work.append(size)
        return packed(shape, name)

    def filled(self, shape: Sequence[Length], element: Callable[[list[Length]], str]) -> Array:
        """A new array, with what `element` gives for each index."""
        out = self.new(shape)
        self.lines += nested(shape, lambda index: [f"{out.at(index)} = {element(index)};"])
        return out

    def in_memory(self, array: Array) -> Array:
        """The array itself if it is packed, or a copy that is."""
        return array if array.is_packed else self.filled(array.shape, array.at)

    # ---- elementwise maths and reductions

    def map(self, code: str, *arrays: Array) -> Array:
        """An expression of the language of lowerings on arrays of numbers, which broadcast."""
        shape = together(arrays)
        wide = [broadcast(a, shape) for a in arrays]
        tree = parse(code).tree
        return self.filled(shape, lambda index: printed(tree, [a.at(index) for a in wide], {}, self.dialect))

    def elementwise(self, node: Node) -> Array:
        """An operation that has an expression."""
        arrays = [self.of(a) for a in node.args]
        code = elementwise_code(node.op, len(arrays), node.static)
        shape = together(arrays)
        wide = [broadcast(a, shape) for a in arrays]
        zero, one = self.dialect.number(0.0), self.dialect.number(1.0)

        def element(index: list[Length]) -> str:
            texts = [a.at(index) for a in wide]
            masks = [f"{t} != {zero}" for t in texts]
            operands = [
                self.dialect.call("mask", m) if code.wants(i) == TRUTH else t
                for i, (t, m) in enumerate(zip(texts, masks))
            ]
            text = printed(code.tree, operands, node.static, self.dialect)
            if code.gives == TRUTH:
                return self.dialect.call("select", text, one, zero)
            if node.results[0].dtype.kind == "b":
                return f"{text} != {zero} ? {one} : {zero}"
            return text

        return self.filled(shape, element)

    def reduce(
        self, code: ReductionCode, static: Mapping[str, Any], x: Array, axes: Sequence[int], keepdims: bool
    ) -> Array:
        """A reduction along some axes."""
        kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
        out = self.new(kept)
        start, zero, one = (self.dialect.number(v) for v in (code.init, 0.0, 1.0))
        self.lines += nested(kept, lambda index: [f"{out.at(index)} = {start};"])

        def combined(index: list[Length]) -> list[str]:
            total = out.at([0 if i in axes else j for i, j in enumerate(index)])
            text = x.at(index)
            text = self.dialect.call("mask", f"{text} != {zero}") if code.each.wants(0) == TRUTH else text
            each = printed(code.each.tree, [text], static, self.dialect)
            return [f"{total} = {printed(code.combine.tree, [total, each], static, self.dialect)};"]

        self.lines += nested(x.shape, combined)

        def finished(index: list[Length]) -> list[str]:
            text = printed(code.finish.tree, [out.at(index)], static, self.dialect)
            text = self.dialect.call("select", text, one, zero) if code.finish.gives == TRUTH else text
            return [f"{out.at(index)} = {text};"] if text != out.at(index) else []

        if finished([0] * len(kept)):
            self.lines += nested(kept, finished)
        return out if keepdims else packed([n for i, n in enumerate(x.shape) if i not in axes], out.base)

    # ---- products

    def times_matrix(self, x: Array, matrix: np.ndarray, hint: str, bias: Array | None = None) -> Array:
        """Rows of `x` times a constant matrix (K, N)."""
        height, width = matrix.shape
        w, scale = self.weights.matrix(matrix, hint)
        cast = f"({self.dialect.real})" if scale else ""
        out = self.new((*x.shape[:-1], width))
        start = self.dialect.number(0.0)

        def rows(index: list[Length]) -> list[str]:
            y = out.at([*index, "j"])
            first = start if bias is None or scale else bias.at(["j"])
            lines = [f"for (long j = 0; j < {width}; j++) {y} = {first};"]
            for k0, k1, step in ((0, height - height % 4, 4), (height - height % 4, height, 1)):
                if k0 == k1:
                    continue
                terms = [f"a{i} * {cast}w[{f'{i * width} + ' if i else ''}j]" for i in range(step)]
                reads = [f"a{i} = {x.at([*index, f'(k + {i})' if i else 'k'])}" for i in range(step)]
                lines += [
                    f"for (long k = {k0}; k < {k1}; k += {step}) {{",
                    f"    const {'int8_t' if scale else self.dialect.real} *w = {w} + k * {width};",
                    f"    const {self.dialect.real} {', '.join(reads)};",
                    f"    for (long j = 0; j < {width}; j++) {y} += {' + '.join(terms)};",
                    "}",
                ]
            if scale:
                end = "" if bias is None else f" + {bias.at(['j'])}"
                lines.append(f"for (long j = 0; j < {width}; j++) {y} = {y} * {scale}[j]{end};")
            return lines

        self.lines += nested(x.shape[:-1], rows)
        return out

    def contract(self, subscripts: str, arrays: Sequence[Array]) -> Array:
        """A sum of products by the letters of its axes, as ``einsum`` has them."""
        inputs, _, out_letters = subscripts.partition("->")
        terms = inputs.split(",")
        sizes: dict[str, Length] = {}
        for letters, a in zip(terms, arrays):
            for letter, n in zip(letters, a.shape):
                if sizes.get(letter, 1) == 1:
                    sizes[letter] = n
        out = self.new([sizes[c] for c in out_letters])
        self.lines += nested(out.shape, lambda index: [f"{out.at(index)} = {self.dialect.number(0.0)};"])
        summed = [c for c in sizes if c not in out_letters]
        order = [*out_letters[:-1], *summed, *out_letters[-1:]]

        def accumulate(index: list[Length]) -> list[str]:
            at = dict(zip(order, index))
            factors = [
                a.at([0 if n == 1 else at[c] for c, n in zip(letters, a.shape)]) for letters, a in zip(terms, arrays)
            ]
            return [f"{out.at([at[c] for c in out_letters])} += {' * '.join(factors)};"]

        self.lines += nested([sizes[c] for c in order], accumulate)
        return out

    # ---- rearrangements

    def reshape(self, x: Array, shape: Sequence[Length]) -> Array:
        if not x.base and not any(x.strides):
            return constant(shape, x.text)
        ones = [s for n, s in zip(x.shape, x.strides) if n != 1]
        if [n for n in x.shape if n != 1] == [n for n in shape if n != 1]:  # axes of length one come and go
            left = iter(ones)
            return x._replace(shape=tuple(shape), strides=tuple(0 if n == 1 else next(left) for n in shape))
        return packed(shape, self.in_memory(x).base)

    def getitem(self, x: Array, index: Sequence[Any]) -> Array:
        """Basic indexing: slices, whole numbers, new axes."""
        given = [*index]
        if Ellipsis in [i for i in given if not isinstance(i, np.ndarray | Value)]:
            at = next(i for i, part in enumerate(given) if part is Ellipsis)
            used = sum(part is not None for part in given) - 1
            given[at : at + 1] = [slice(None)] * (len(x.shape) - used)
        given += [slice(None)] * (len(x.shape) - sum(part is not None for part in given))
        axis = 0
        start: Length = 0
        shape: list[Length] = []
        strides: list[Length] = []
        for part in given:
            if part is None:
                shape.append(1)
                strides.append(0)
                continue
            n, stride = x.shape[axis], x.strides[axis]
            axis += 1
            first, count, step = picked(part, n, self.length)
            start = plus(start, times(_in_brackets(first), stride))
            if count is not None:
                shape.append(count)
                strides.append(times(step, stride) if step != -1 else f"(-({stride}))" if stride != 0 else 0)
        if x.base:
            base = x.base if start == 0 else f"({x.base} + {start})"
            return Array(tuple(shape), base, tuple(strides), x.text)
        text = x.text if start == 0 else x.text.replace("{}", f"({start} + {{}})")
        return Array(tuple(shape), "", tuple(strides), text)

    def concat(self, arrays: Sequence[Array], axis: int) -> Array:
        total: Length = 0
        for a in arrays:
            total = plus(total, a.shape[axis])
        shape = [*arrays[0].shape]
        shape[axis] = total if isinstance(total, int) else f"({total})"
        out = self.new(shape)
        start: Length = 0
        for a in arrays:

            def copied(index: list[Length], a: Array = a, start: Length = start) -> list[str]:
                to = [*index]
                to[axis] = plus(start, _in_brackets(index[axis]))
                return [f"{out.at(to)} = {a.at(index)};"]

            self.lines += nested(a.shape, copied)
            start = plus(start, a.shape[axis])
        return out


def _in_brackets(n: Length) -> Length:
    return f"({n})" if isinstance(n, str) and not n.isidentifier() and not n.startswith("(") else n


def picked(part: Any, n: Length, length: Lengths) -> tuple[Length, Length | None, int]:
    """The first index, how many, and the step, of a slice or a whole number of an axis of this length."""
    if not isinstance(part, slice):
        return _bound(length(part), n), None, 1
    step = 1 if part.step is None else part.step
    first, last = (None if v is None else length(v) for v in (part.start, part.stop))
    if not (isinstance(n, str) or isinstance(first, str) or isinstance(last, str)):
        found = range(n)[slice(first, last, step)]
        return found.start, len(found), step
    if step == -1 and first is last is None:
        return plus(n, -1), n, -1
    if step < 0:
        raise NotImplementedError(f"a slice with step {step}")
    start: Length = 0 if first is None else _bound(first, n)
    stop = n if last is None else _bound(last, n)
    count = stop if start == 0 else f"({stop} - ({start}))"
    return start, count if step == 1 else f"(({count} + {step - 1}) / {step})", step


def _bound(at: Length, n: Length) -> Length:
    return plus(n, at) if isinstance(at, int) and at < 0 else at


def together(arrays: Sequence[Array]) -> tuple[Length, ...]:
    """The shape to which arrays broadcast."""
    rank = max(len(a.shape) for a in arrays)
    shape: list[Length] = [1] * rank
    for a in arrays:
        for i, n in enumerate(a.shape, rank - len(a.shape)):
            if shape[i] == 1:
                shape[i] = n
    return tuple(shape)
