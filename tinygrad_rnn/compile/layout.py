"""Layout: how a loop's matrices and vectors are packed, and the integers that tell the generated code about it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import cache
from .emit import Emitter
from .schedule import Buffer, Place, Product, Schedule
from .symbol import Symbol
from .views import View, resolve


class Sizes(NamedTuple):
    """Elements of a vector register and of a panel of packed columns, for one dtype."""

    lanes: int
    panel: int

    def part(self, width: int) -> int:
        """A part of a row, padded to whole vectors."""
        return -(-width // self.lanes) * self.lanes

    def row(self, parts: list[int]) -> int:
        """A row of a buffer, padded to whole panels: products write whole panels."""
        total = sum(self.part(p) for p in parts)
        return -(-total // self.panel) * self.panel


def sizes(dtype) -> Sizes:
    from ..kernels.gemm import lanes_of, panel_width
    from ..kernels.linked import link

    link(np.dtype(dtype))
    return Sizes(lanes_of(np.dtype(dtype)), panel_width(np.dtype(dtype)))


HEADER = '''"""{title}

Generated from a traced step; edit the step, not this file. Buffers are flat; a row has {{name}}_ld elements.
"""

import numpy as np

from tinygrad_rnn.kernels.fingerprint import kernel
from tinygrad_rnn.kernels.lanes import (
    vabs, vbroadcast, vfirst, vhmax, vload, vload_n, vmax, vmin, vselect, vsplat, vstore, vstore_n, vsum,
)
from tinygrad_rnn.kernels.linked import gemm, gemm2
from tinygrad_rnn.kernels.mathfn import cos, erf, exp, expm1, log, log1p, sigmoid, sin, softplus, sqrt, tanh

LANES = {lanes}  # of {dtype}
INF = np.{dtype}(np.inf)


@kernel
'''


class Layout:
    """One loop of a plan, ready to be called.

    Attributes
    ----------
    source : str
        The generated module.
    template : int64 array
        ``d``: T, B, then what the emitter asked for; T and B are filled in for each call.
    """

    def __init__(self, schedule: Schedule, name: str, reverse: bool, dtype, title: str):
        self.schedule = schedule
        self.name = name
        self.dtype = np.dtype(dtype)
        self.sizes = sizes(dtype)
        self.emitter = Emitter(schedule, name, reverse)
        header = HEADER.format(title=title, lanes=self.sizes.lanes, dtype=self.dtype.name)
        self.source = header + self.emitter.source
        self.path: Any = None
        self._function: Any = None
        self.numbers = np.array(self.emitter.numbers or [0.0], self.dtype)
        self._pack_products()
        self._pack_vectors()
        self.template = np.array([0, 0, *(self._int(key) for key in self.emitter.ints)], np.int64)
        self.vector_lds = [i + 2 for i, key in enumerate(self.emitter.ints) if key[0] == "vector_ld"]

    @property
    def function(self):
        if self._function is None:
            self._function, self.path = cache.load(self.source, self.name)
        return self._function

    def ld(self, buffer: Buffer) -> int:
        return buffer.parts[0] if buffer.kind == "user" else self.sizes.row(buffer.parts)

    def part(self, buffer: Buffer, index: int) -> int:
        return sum(self.sizes.part(p) for p in buffer.parts[:index])

    def _int(self, key: tuple) -> int:
        kind = key[0]
        if kind == "ld":
            return self.ld(key[1])
        if kind == "part":
            return self.part(key[1], key[2])
        if kind == "start":
            return key[3]
        if kind == "width":
            return self.schedule.live[key[1]].width
        if kind == "columns":
            return self.columns[id(key[1])]
        if kind == "depth":
            return self.packed[id(key[1]), key[2]][1]
        if kind == "packed":
            return self.packed[id(key[1]), key[2]][0]
        if kind == "bias":
            return self.bias_at[id(key[1])]
        if kind == "vector":
            return self.vector_at[key[1]]
        return 0  # vector_ld: depends on the batch

    # ---- matrices

    def _pack_products(self) -> None:
        """Where each operand of each product goes in ``w``, and which rectangles of which matrix it is made of."""
        self.packed: dict[tuple[int, int], tuple[int, int]] = {}
        self.columns: dict[int, int] = {}
        self.bias_at: dict[int, int] = {}
        self.matrices: dict[int, list] = {}  # base uid -> rows of pack_blocks' table
        self.biases: dict[int, list] = {}  # base uid -> rows of add_segments' table
        self.w_size = self.bias_size = 0
        for product in self.schedule.products:
            self._pack_product(product)
        self.matrix_tables = {uid: np.array(rows, np.int64) for uid, rows in self.matrices.items()}
        self.bias_tables = {uid: np.array(rows, np.int64) for uid, rows in self.biases.items()}

    def _pack_product(self, product: Product) -> None:
        starts, at = [], 0
        for member in product.members:
            starts.append(at)
            at += self.sizes.part(member.out.width)
        width = self.columns[id(product)] = self.sizes.row([at])  # whole panels are faster
        for i, run in enumerate(product.sources):
            depths = [product.members[0].terms[j][0].width for j in run]
            rows = depths if len(run) == 1 else [self.sizes.part(n) for n in depths]
            depth = sum(rows)
            self.packed[id(product), i] = (self.w_size, depth)
            for member, column in zip(product.members, starts):
                row = 0
                for j, n in zip(run, rows):
                    block(self.matrices, resolve(member.terms[j][1]), self.w_size, depth, row, column)
                    row += n
            self.w_size += depth * width
        if not any(m.before for m in product.members):
            self.bias_at[id(product)] = self.bias_size
            for member, column in zip(product.members, starts):
                for v in member.bias:
                    view = resolve(v)
                    _, start, stop = view.axes[-1]
                    self.biases.setdefault(view.base.uid, []).append((start, stop - start, self.bias_size + column))
            self.bias_size += width

    # ---- vectors that elementwise maths reads

    def _pack_vectors(self) -> None:
        self.vector_at: dict[int, int] = {}
        self.vectors: list[tuple[Symbol, View]] = []
        self.rows: list[tuple[Symbol, View]] = []  # one row for each batch row: they come last
        size = 0
        for uid, s in self.emitter.vectors.items():
            view = resolve(s)
            if s.ndim == 2 and s.shape[0] != 1:
                self.rows.append((s, view))
                self.vector_at[uid] = -1
                continue
            self.vectors.append((s, view))
            self.vector_at[uid] = size
            size += self.sizes.part(s.size)
        self.v_size = size

    def fill(self, values: dict[int, np.ndarray], batch: int, time: int) -> tuple:
        """``(d, k, v, w, bias)`` for one call; `values` are the arrays of invariants by uid."""
        from ..kernels.bulk import add_segments, pack_blocks

        d = self.template.copy()
        d[0], d[1] = time, batch
        w = np.zeros(self.w_size, self.dtype)
        for uid, table in self.matrix_tables.items():
            base = values[uid]
            pack_blocks(base.reshape(-1), base.shape[1], table, w, self.sizes.panel)
        bias = np.zeros(max(self.bias_size, self.sizes.panel), self.dtype)
        for uid, table in self.bias_tables.items():
            add_segments(values[uid].reshape(-1), table, bias)
        v = self._fill_vectors(values, batch, d)
        return d, self.numbers, v, w, bias

    def _fill_vectors(self, values, batch: int, d) -> np.ndarray:
        lanes = self.sizes.lanes
        extra = sum(self.sizes.part(s.shape[1]) * batch for s, _ in self.rows)
        v = np.zeros(self.v_size + extra + lanes, self.dtype)
        for s, view in self.vectors:
            at, source = self.vector_at[s.uid], select(values[view.base.uid], view)
            if s.size == 1:
                v[at : at + lanes] = source.reshape(-1)[0]
            else:
                v[at : at + s.size] = source.reshape(-1)
        at = self.v_size
        for s, view in self.rows:
            ld = self.sizes.part(s.shape[1])
            rows = select(values[view.base.uid], view._replace(axes=((0, 0, batch), *view.axes[1:])))
            v[at : at + ld * batch].reshape(batch, ld)[:, : s.shape[1]] = rows
            for i, key in enumerate(self.emitter.ints):
                if key == ("vector", s.uid):
                    d[i + 2] = at
                elif key == ("vector_ld", s.uid):
                    d[i + 2] = ld
            at += ld * batch
        return v


def block(tables: dict, view: View, offset: int, depth: int, row: int, column: int) -> None:
    """Note that `view` goes to (row, column) of the packed matrix at `offset`."""
    (_, r0, r1), (_, c0, c1) = view.axes
    tables.setdefault(view.base.uid, []).append(
        (int(view.transposed), r0, c0, r1 - r0, c1 - c0, offset, depth, row, column)
    )


def select(array: np.ndarray, view: View) -> np.ndarray:
    """The part of `array` that `view` shows."""
    index = [slice(None)] * array.ndim
    for axis, start, stop in view.axes:
        index[axis] = slice(start, stop)
    out = array[tuple(index)]
    return out.T if view.transposed else out


def place_offset(layout: Layout, place: Place) -> int:
    return layout.part(place.buffer, place.part) + place.start
