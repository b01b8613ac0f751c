"""Layout of a loop: the offset of everything that it reads or writes, and the tasks that prepare it.

Each call has two arrays of its own: ``weights`` holds packed matrices, biases and vectors; the arena holds the buffers
of its schedule, and outlives the call if the backward loop reads them. The caller's arrays and the results are arrays
by themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ...kernels.loops.task_codes import CopyRows, Matrix
from ..ir import verify
from ..ir.heads import Heads, heads_of
from ..ir.symbol import Symbol
from ..ir.weight_slices import resolve_slice
from ..schedule.buffers import BufferKind
from ..schedule.schedule import Product, Schedule
from . import module_cache
from .array_names import PACKED, Role
from .bound_layout import BoundLayout
from .numba_loop import Emitter
from .packing import Packing
from .prelude import IMPORT, PRELUDE
from .sizes import log2_rows_per_sum, sizes
from .verify import verify_bound, verify_source


class Layout:
    """Layout of one loop of a plan, generated for one dtype; `bind` adds T and the batch.

    Parameters
    ----------
    schedule : Schedule
    name : str
        Of the generated function.
    reverse : bool
        Whether it runs from late steps to early ones.
    dtype : float32 or float64
    title : str
        What the head of the generated file says of it.

    Attributes
    ----------
    packed : dict
        (id of a product, number of its operand) -> offset in ``weights``, and rows, of the packed matrix.
    heads : dict
        (id of a product, number of its operand, number of a member) -> offset, and elements, of the packed matrices of
        heads, and what they are.
    columns, bias_at : dict
        id of a product -> columns with their padding; offset of its bias, if the tile begins from it.
    vector_at : dict
        uid of an invariant -> its offset in ``weights``.
    rows : list of Symbol
        Invariants with a row for each batch row, (B, n): `bind` gives them their offsets.
    multiplications : int
        Multiply-adds of one row in one step.
    """

    def __init__(self, schedule: Schedule, name: str, reverse: bool, dtype, title: str):
        self.schedule = schedule
        self.name = name
        self.dtype = np.dtype(dtype)
        self.sizes = sizes(dtype)
        self.emitter = Emitter(schedule, name, reverse, self.sizes.lanes)
        self.book = self.emitter.book
        header = PRELUDE.format(title=title, lanes=self.sizes.lanes, dtype=self.dtype.name)
        more = [f for f, used in (("vgather", self.book.tables), ("vlookup", self.book.looked_up)) if used]
        if more:
            gemm = "from tinygrad_rnn.kernels.gemm"
            header = header.replace(gemm, IMPORT.format(", ".join(more)) + gemm, 1)
        self.source = header + self.emitter.source
        captures = {name: Role.CAPTURE.of(s.uid) for name, s in self.book.looked_up.items()}
        self.arrays = [captures.get(name, name) for name in self.book.arrays]
        self._loop: Any = None
        self.numbers = np.array(self.book.numbers or [0.0], self.dtype)
        self.packing = Packing(self.sizes, PACKED)
        self._pack_products()
        self._pack_vectors()
        if verify.enabled:
            verify_source(self.source)

    @property
    def path(self) -> Path:
        """The file of the generated source."""
        return module_cache.store(self.source)

    @property
    def address(self) -> int:
        """Address of the compiled loop."""
        return self.load().address

    def load(self) -> Any:
        """The compiled loop, compiled if need be."""
        if self._loop is None:
            self._loop = module_cache.load(self.source, self.name)
        return self._loop

    def rows_per_group(self, batch: int) -> int:
        """Rows that share a partial sum, and so have to be in one thread."""
        return 1 << log2_rows_per_sum(batch) if any(b.kind is BufferKind.PARTIAL_SUM for b in self.book.buffers) else 1

    # ---- matrices, biases, vectors

    def _pack_products(self) -> None:
        self.packed: dict[tuple[int, int], tuple[int, int]] = {}
        self.shared: dict[tuple, int] = {}  # what is packed -> its offset
        self.heads: dict[tuple[int, int, int], tuple[int, int, Heads]] = {}
        self.multiplications = 0
        self.columns: dict[int, int] = {}
        self.bias_at: dict[int, int] = {}
        for product in self.schedule.products:
            self._pack_product(product)
        self.multiplications += self.packing.size  # of one row

    def _pack_product(self, product: Product) -> None:
        """Pack the matrices of one product side by side, and its bias."""
        starts, at = [], 0
        for member in product.members:
            starts.append(at)
            at += self.sizes.part(member.out.width)
        # all columns of one call of the tile, with the padding behind each member
        width = self.columns[id(product)] = self.sizes.row([at])  # whole panels are faster
        for i, run in enumerate(product.sources):
            if product.has_heads(run):
                self._pack_heads(product, i)
                continue
            depths = [product.members[0].terms[j][0].width for j in run]
            # operands that are read as one have padding in between: the matrix gets rows of zeros there
            rows = depths if len(run) == 1 else [self.sizes.part(n) for n in depths]
            depth = sum(rows)
            key = (width, tuple(rows), *(w for m in product.members for w in self._views(m.terms[j][1] for j in run)))
            if key in self.shared:  # repetitions of a step multiply by the same matrices
                self.packed[id(product), i] = self.shared[key], depth
                self.multiplications += depth * width
                continue
            offset = self.shared[key] = self.packing.reserve(depth * width)
            self.packed[id(product), i] = (offset, depth)
            for member, column in zip(product.members, starts):
                row = 0
                for j, n in zip(run, rows):
                    self.packing.matrix(resolve_slice(member.terms[j][1]), offset, depth, row, column)
                    row += n
        # else the bias is in the sum that an earlier sweep stores for the tile to begin from
        if not any(m.initial_terms for m in product.members):
            key = ("bias", width, *(v for m in product.members for v in (m.out.width, *self._views(m.bias))))
            if key in self.shared:
                self.bias_at[id(product)] = self.shared[key]
                self.multiplications += width
                return
            offset = self.bias_at[id(product)] = self.shared[key] = self.packing.reserve(width)
            for member, column in zip(product.members, starts):
                for v in member.bias:
                    self.packing.vector(resolve_slice(v), offset + column)

    @staticmethod
    def _views(slices: Iterable[Symbol]) -> list[tuple]:
        """What parts of parameters are, in a form that can be compared."""
        return [(view.base.uid, view.axes, view.transposed) for view in map(resolve_slice, slices)]

    def _pack_heads(self, product: Product, i: int) -> None:
        """Pack the matrices of heads, each by itself: a product for each head reads one of them."""
        (term,) = product.sources[i]
        for m, member in enumerate(product.members):
            heads = heads_of(member.terms[term][1])
            assert heads is not None
            size = heads.rows * self.sizes.row([heads.columns])
            offset = self.packing.reserve(heads.matrices * size)
            for number in range(heads.matrices):
                self.packing.matrix(heads.view(number), offset + number * size, heads.rows, 0, 0)
            self.heads[id(product), i, m] = (offset, size, heads)
            self.multiplications += (heads.heads - heads.matrices) * size

    def _pack_vectors(self) -> None:
        """Pack the invariants that elementwise maths reads; those with a row for each batch row come later."""
        self.vector_at: dict[int, int] = {}
        self.rows: list[Symbol] = []  # constants with a row for each batch row: they come last
        for uid, s in self.book.vectors.items():
            if s.ndim == 2 and s.shape[0] != 1:
                self.rows.append(s)
                # their size depends on the batch: `bind` gives them their offsets
                self.packing.bases[resolve_slice(s).base.uid] = resolve_slice(s).base
                continue
            self.vector_at[uid] = self.packing.reserve(self.sizes.part(s.size))
            self.packing.vector(resolve_slice(s), self.vector_at[uid])
        self.packing.bases |= {s.uid: s for s in self.book.looked_up.values()}  # read where they lie

    # ---- for one T and one batch

    def bind(self, time: int, batch: int) -> BoundLayout:
        """The layout for one T and one batch."""
        tasks, vectors = list(self.packing.tasks), dict(self.vector_at)
        used = self.packing.size
        for s in self.rows:
            view, width = resolve_slice(s), s.shape[1]
            _, start, stop = view.axes[1]
            vectors[s.uid] = used
            source = Matrix(Role.CAPTURE.of(view.base.uid), start, view.base.shape[1])
            target = Matrix(PACKED, used, self.sizes.part(width))
            tasks.append(CopyRows(source, target, batch, stop - start))
            used += batch * target.ld
        at, zeros, offsets = 0, 0, {}
        for buffer in sorted(self.book.buffers, key=lambda b: not b.kind.begins_at_zero):  # sums begin at zero
            # buffers of the forward loop are in its own arena, which was laid out when that loop was bound
            if not buffer.standalone and buffer.owner == self.schedule.prefix:
                offsets[buffer] = at
                at += self.sizes.elements(buffer, time, batch) + self.sizes.cache_skew
                zeros = at if buffer.kind.begins_at_zero else zeros
        dims = [time, batch, *(self._int(key, offsets, vectors, batch) for key in self.book.ints)]
        # the place of this table follows from the number of integers before it; segments put their own in its stead
        dims += range(0, (time + 1) * batch, batch)  # rows before each step
        panel = self.sizes.panel  # whole vectors and panels may be read and written beyond the last row
        bound = BoundLayout(np.array(dims, np.int64), self.sizes.row([used]) + panel, at + panel, zeros, offsets, tasks)
        if verify.enabled:
            verify_bound(self, bound, time, batch)
        return bound

    def offset_in_row(self, key: tuple) -> int:
        """Offset in a row of its buffer of the place of a key ("at", buffer, part, start)."""
        _, buffer, part, start = key
        return self.sizes.part_at(buffer, part) + start

    def _int(self, key: tuple, offsets: dict, vectors: dict, batch: int) -> int:
        """The integer of a key of :attr:`.AddressBook.ints`."""
        kind, what = key[0], key[1]
        if kind == "at":
            return offsets.get(what, 0) + self.offset_in_row(key)  # 0: elsewhere, which the caller adds
        if kind == "ld":
            return self.sizes.ld(what)
        if kind == "size":
            return what
        if kind == "table":
            return self.book.tables[what].ctypes.data
        if kind == "last_vector":
            return self.sizes.part(what) - self.sizes.lanes
        if kind == "repeats":
            return 2 + self.book.repeated_at[what]
        if kind == "sum_shift":
            return log2_rows_per_sum(batch)
        if kind == "width":
            return self.schedule.live[what].width
        if kind == "columns":
            return self.columns[id(what)]
        if kind.startswith("head"):
            offset, size, heads = self.heads[id(what), key[2], key[3]]
            if kind in ("head_packed", "head_size"):
                return offset if kind == "head_packed" else size
            return getattr(heads, kind.removeprefix("head_"))
        if kind == "depth":
            return self.packed[id(what), key[2]][1]
        if kind == "packed":
            return self.packed[id(what), key[2]][0]
        if kind == "bias":
            return self.bias_at[id(what)]
        if kind == "vector":
            return vectors[what]
        return self.sizes.part(self.book.vectors[what].shape[1])  # vector_ld
