"""Epilogue of the backward loop: weight and input gradients as large products, others as sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...kernels.loops.task_codes import (
    AddColumns,
    AddRows,
    AddVector,
    Matrix,
    Product,
    ScatterRows,
    SumRows,
    Task,
    TransposedProduct,
    Vector,
)
from ..codegen.array_names import GRADS, INPUT_PACKED, PRODUCTS, Role
from ..codegen.layout import Layout
from ..codegen.packing import Packing, row_start
from ..codegen.sizes import Sizes, partial_sums
from ..ir.heads import base_of, heads_of
from ..ir.symbol import BATCH, Symbol
from ..ir.weight_slices import WeightSlice, resolve_slice
from ..schedule.buffers import BufferKind, Place
from ..schedule.plan import Plan

# Pieces that threads share out. They depend on shapes alone, so that results do not depend on the threads.
INPUT_ROWS = 240  # whole tiles of six rows
GRADIENT_ROWS = 256


class Epilogue:
    """Tasks of a plan after its backward loop, and the layout of the gradients that they add to.

    Parameters
    ----------
    plan : Plan
        Differentiated.
    reverse : Layout
        Of its backward loop.

    Attributes
    ----------
    grads_size : int
        Elements of ``grads``, which holds the gradients of all bases.
    grad_at : dict
        uid of a base -> its offset there.
    packing : Packing
        Of ``input_weights``: matrices through which cotangents reach the inputs.
    """

    def __init__(self, plan: Plan, reverse: Layout):
        self.plan = plan
        self.reverse = reverse
        self.sizes = reverse.sizes
        self.packing = Packing(self.sizes, INPUT_PACKED)
        self.grads_size = 0
        self.grad_at: dict[int, int] = {}
        self.shapes: dict[int, tuple] = {}
        adj = plan.adjoint
        for v in [p.w for p in adj.products] + [s.table for s in adj.scatters] + [r.v for r in adj.reductions]:
            base = base_of(v)
            self.shapes.setdefault(base.uid, base.shape)
        self._pack_inputs()
        self._merge_products()
        self._merge_reductions()

    def _locate(self, s: Symbol) -> Place:
        """The place of the values of `s` at all time steps."""
        reverse = self.plan.reverse
        return reverse.kept.get(s.uid) or reverse.place_of(s)

    # ---- what does not depend on T and the batch

    def _pack_inputs(self) -> None:
        """Pack the matrices by which deferred cotangents reach inputs, one run of operands after the other."""
        self.deferred: list[
            tuple[int, list[tuple[Place, int, int]]]
        ] = []  # input, (left operand, depth, offset in input_weights)
        for i, terms in self.plan.deferred.items():
            panels = self.sizes.row([self.plan.traced.inputs[i].width])
            runs = []
            located = [(self._locate(g), g, w) for g, w in terms]
            located.sort(key=lambda p: (p[0].buffer.name, p[0].part))
            while located:
                n = 1
                # cotangents side by side are one operand: the zeros between them meet rows of zeros in the matrix
                while n < len(located) and _neighbours(located[n - 1][0], located[n][0]):
                    n += 1
                depths = [g.width if n == 1 else self.sizes.part(g.width) for _, g, _ in located[:n]]
                offset, row = self.packing.reserve(sum(depths) * panels), 0
                for (_, _, w), depth in zip(located, depths):
                    self.packing.matrix(resolve_slice(w), offset, sum(depths), row, 0)
                    row += depth
                runs.append((located[0][0], sum(depths), offset))
                del located[:n]
            self.deferred.append((i, runs))

    def _merge_products(self) -> None:
        """Form products; cotangents side by side with the same left operand share one."""
        pairs = []
        self.products: list[_WeightGradient] = []
        for p in self.plan.adjoint.products:
            a, g, heads = self._locate(p.a), self._locate(p.g), heads_of(p.w)
            if heads is None:
                pairs.append((resolve_slice(p.w), a, g))
                continue
            for head, number in enumerate(heads.numbers):
                columns = (replace(v, start=v.start + head * n) for v, n in ((a, heads.rows), (g, heads.columns)))
                self.products.append(_WeightGradient(heads.view(number), *columns))
        pairs.sort(
            key=lambda j: (j[0].base.uid, j[1].buffer.name, j[1].part, j[0].axes[0], j[2].buffer.name, j[2].part)
        )
        heads_alone = len(self.products)
        self.temp_size = 0
        for view, a, g in pairs:
            last = self.products[-1] if len(self.products) > heads_alone else None
            if last is None or not last.try_merge(view, a, g):
                last = _WeightGradient(view, a, g)
                self.products.append(last)
            last.pieces.append((self._column(g), view.axes[1]))
        for product in self.products[:heads_alone]:
            product.pieces.append((self._column(product.g), product.view.axes[1]))
        for product in self.products:
            product.choose_orientation(self.sizes)
            if not product.direct:
                product.temp = self.temp_size
                self.temp_size += product.rows * product.columns

    def _merge_reductions(self) -> None:
        """Sums of cotangents over rows; of vectors that get the same, one is summed and the others are copied.

        A gradient to which anything else is added, such as that of a bias which a step uses twice, is no sum that
        others could copy.
        """
        self.sums: list[list[Any]] = []  # place, width, base, offset in base
        self.copies: list[tuple] = []  # base, offset, width, base, offset
        self.totals: list[tuple] = []  # buffer, base, reduction
        adj = self.plan.adjoint
        shared = {base_of(p.w).uid for p in adj.products} | {s.table.uid for s in adj.scatters}
        alike: dict[int, list[tuple[Symbol, int, int]]] = {}  # uid of a cotangent -> it, and where its sum belongs
        spans: list[tuple[int, int, int]] = []  # base, first and last element of each sum
        for i, r in enumerate(self.plan.adjoint.reductions):
            view = resolve_slice(r.v)
            if i in self.plan.totals:
                self.totals.append((self.plan.totals[i], view, r))
                shared.add(view.base.uid)
                continue
            base, at = view.base.uid, row_start(view)
            alike.setdefault(r.g.uid, []).append((r.g, base, at))
            spans.append((base, at, at + r.g.width))
        for found in alike.values():
            alone = [
                (base, at)
                for g, base, at in found
                if base not in shared and sum(b == base and a < at + g.width and at < z for b, a, z in spans) == 1
            ]
            for g, base, at in found:
                if alone and (base, at) != alone[0]:
                    self.copies.append((*alone[0], g.width, base, at))
                else:
                    self.sums.append([self._locate(g), g.width, base, at])
        self.sums.sort(key=lambda s: (s[2], s[3]))
        self.sums = _merge(self.sums, self._follows)
        self.copies = [tuple(c) for c in _merge_copies(sorted(self.copies, key=lambda c: (c[3], c[4])))]

    def _follows(self, a: Place, width: int, b: Place) -> bool:
        """Whether `b` begins where `width` columns from `a` on end, without padding in between."""
        return a.buffer is b.buffer and a.next_step == b.next_step and self._column(a) + width == self._column(b)

    def _column(self, place: Place) -> int:
        return self.sizes.part_at(place.buffer, place.part) + place.start

    # ---- for one T and one batch

    def bind(self, time: int, batch: int, locate: Callable[[Place], tuple[str, int]]) -> list[list[Task]]:
        """Tasks in phases, for one T and one batch; ``locate(place)`` gives (array, offset of row 0).

        Those of the first may be done in any order, but for products that add to what the task before wrote: threads
        share them. The others are done in order.
        """
        rows = time * batch

        def matrix(place: Place) -> Matrix:
            return Matrix(*locate(place), self.sizes.ld(place.buffer))

        shared: list[Task] = list(self._input_gradients(rows, matrix))
        later: list[Task] = []  # what adds to a part of a gradient that a shared task writes
        last: list[Task] = []
        written: list[tuple] = []
        for p in self.products:
            left, right = matrix(p.a), matrix(p.g)
            if p.cotangent_left:
                left, right = right, left
            base, ldc = p.view.base.uid, self.shapes[p.view.base.uid][1]
            again = False
            if p.direct:
                # a product overwrites what it meets; where two reach one element, the second adds
                target = Matrix(GRADS, self.grad_at[base] + p.corner[0] * ldc + p.corner[1], ldc)
                again = any(w[0] == base and _overlap(w[1:], (*p.corner, p.rows, p.columns)) for w in written)
                written.append((base, *p.corner, p.rows, p.columns))
            else:
                target = Matrix(PRODUCTS, p.temp, p.columns)
                last += p.copies(self.grad_at[base], ldc)
            for i in range(0, p.rows, GRADIENT_ROWS):
                n = min(GRADIENT_ROWS, p.rows - i)
                piece, into = moved(left, i), moved(target, i * target.ld)
                task = TransposedProduct(piece, right, into, rows, n, p.columns, again)
                (later if again else shared).append(task)
        # sums only add, to zeros at first: they have to wait where a product would overwrite them
        spans = [(base, *_span(corner, self.shapes[base][1])) for base, *corner in written]
        for s in self.plan.adjoint.scatters:
            (count, width), base = s.table.shape, s.table.uid
            target = Matrix(GRADS, self.grad_at[base], width)
            scattered = ScatterRows(
                matrix(self._locate(s.g)), target, matrix(self._locate(s.rows)), rows, s.rows.width, width, width,
                count, s.padding,
            )  # fmt: skip
            (later if any(b == base for b, _, _ in spans) else shared).append(scattered)
            spans.append((base, 0, count * width))
        for place, width, base, offset in self.sums:
            again = any(b == base and low < offset + width and offset < high for b, low, high in spans)
            summed = SumRows(matrix(place), Vector(GRADS, self.grad_at[base] + offset), rows, width)
            (later if again else shared).append(summed)
            spans.append((base, offset, offset + width))
        for buffer, view, r in self.totals:
            source, width, start = matrix(Place(buffer)), r.g.width, self.grad_at[view.base.uid]
            if r.v.ndim == 2 and r.v.shape[0] != 1:
                _, a, _ = view.axes[1]
                target = Matrix(GRADS, start + a, self.shapes[view.base.uid][1])
                last.append(AddRows(source, target, batch, width))
            else:
                count = partial_sums(batch) if buffer.kind is BufferKind.PARTIAL_SUM else batch
                last.append(SumRows(source, Vector(GRADS, start + row_start(view)), count, width))
        for base, offset, width, other, to in self.copies:
            found, target_at = self.grad_at[base] + offset, self.grad_at[other] + to
            last.append(AddVector(Vector(GRADS, found), Vector(GRADS, target_at), width))
        return [shared, later, last]

    def _input_gradients(self, rows: int, matrix: Callable[[Place], Matrix]) -> Iterator[Product]:
        """Products of cotangents at all steps with packed matrices, piece by piece of the rows."""
        for i, runs in self.deferred:
            ldc = self.sizes.row([self.plan.traced.inputs[i].width])
            for start in range(0, rows, INPUT_ROWS):
                for n, (place, depth, packed) in enumerate(runs):
                    cotangent = matrix(place)
                    target = Matrix(Role.INPUT_GRAD.of(i), start * ldc, ldc)
                    source, matrices = moved(cotangent, start * cotangent.ld), Vector(INPUT_PACKED, packed)
                    yield Product(source, matrices, target, min(INPUT_ROWS, rows - start), depth, ldc, n > 0)

    def place_grads(self, batch: int) -> None:
        """Assign offsets in the array of gradients, for one batch."""
        self.grads_size = 0
        for uid, shape in self.shapes.items():
            self.grad_at[uid] = self.grads_size
            self.grads_size += int(np.prod((batch, *shape[1:]) if shape[:1] == (BATCH,) else shape, dtype=int))


class _WeightGradient:
    """``d(w) = a.T @ g`` over all steps, for one left operand and cotangents side by side.

    Attributes
    ----------
    pieces : list
        (column of the cotangent in its buffer, axis of the view that it is the gradient of).
    cotangent_left : bool
        Whether ``g.T @ a`` is computed instead: what suits the layout, or what is cheaper.
    direct : bool
        Whether the product is written to the gradient at once; else it goes through a temporary matrix.
    rows, columns : int
        Of the product, with the padding between pieces.
    corner : (int, int)
        Where it goes in the gradient, if it is direct.
    """

    def __init__(self, view: WeightSlice, a: Place, g: Place):
        self.view, self.a, self.g = view, a, g
        self.end = g
        self.pieces: list[tuple[int, tuple[int, int, int]]] = []
        self.temp = 0

    def try_merge(self, view: WeightSlice, a: Place, g: Place) -> bool:
        same = view.base is self.view.base and view.transposed == self.view.transposed
        if same and a == self.a and view.axes[0] == self.view.axes[0] and _neighbours(self.end, g):
            self.end = g
            return True
        return False

    def choose_orientation(self, sizes: Sizes) -> None:
        """Choose between ``a.T @ g`` and ``g.T @ a``, and whether a temporary matrix is needed."""
        first, (_, _, _) = self.pieces[0]
        column, (_, start, stop) = self.pieces[-1]
        span = column - first + stop - start
        _, r0, r1 = self.view.axes[0]

        def cost(m: int, n: int) -> int:
            # multiply-adds with what the tile adds to rows and columns
            return -(-m // 6) * 6 * sizes.row([n])

        natural = self.view.transposed  # a transposed matrix has the cotangent's axis first
        by_cotangent, by_operand = cost(span, r1 - r0), cost(r1 - r0, span)
        mine, other = (by_cotangent, by_operand) if natural else (by_operand, by_cotangent)
        # the other orientation needs a transposed copy afterwards: it has to be much cheaper
        self.cotangent_left = natural if other > 0.7 * mine else not natural
        self.rows, self.columns = (span, r1 - r0) if self.cotangent_left else (r1 - r0, span)
        c0 = self.pieces[0][1][1]
        adjacent = all(at - first == axis[1] - c0 for at, axis in self.pieces)
        self.direct = adjacent and self.cotangent_left == natural
        self.corner = (c0, r0) if natural else (r0, c0)

    def copies(self, grad: int, ldc: int) -> list[AddRows | AddColumns]:
        """The tasks that add the pieces of the temporary matrix to the gradient."""
        _, r0, r1 = self.view.axes[0]
        first, tasks = self.pieces[0][0], []
        add = AddRows if self.cotangent_left == self.view.transposed else AddColumns
        for column, (_, c0, c1) in self.pieces:
            lead = column - first
            start = self.temp + (lead * self.columns if self.cotangent_left else lead)
            rows, width, to = (c1 - c0, r1 - r0, (c0, r0)) if self.view.transposed else (r1 - r0, c1 - c0, (r0, c0))
            target = Matrix(GRADS, grad + to[0] * ldc + to[1], ldc)
            tasks.append(add(Matrix(PRODUCTS, start, self.columns), target, rows, width))
        return tasks


def moved(matrix: Matrix, by: int) -> Matrix:
    """The rows of a matrix that begin `by` elements later."""
    return matrix._replace(at=matrix.at + by)


def _neighbours(a: Place, b: Place) -> bool:
    return a.joins(b) and a.buffer.joinable


def _overlap(a: tuple, b: tuple) -> bool:
    (r, c, m, n), (s, d, p, q) = a, b
    return r < s + p and s < r + m and c < d + q and d < c + n


def _span(corner: Sequence[int], ld: int) -> tuple[int, int]:
    """First element of a rectangle (row, column, rows, columns) of a matrix, and the end of its last."""
    r, c, m, n = corner
    return r * ld + c, (r + m - 1) * ld + c + n


def _merge(sums: list[list[Any]], follows) -> list[list[Any]]:
    out: list[list[Any]] = []
    for s in sums:
        if out and out[-1][2] == s[2] and out[-1][3] + out[-1][1] == s[3] and follows(out[-1][0], out[-1][1], s[0]):
            out[-1][1] += s[1]
        else:
            out.append(list(s))
    return out


def _merge_copies(copies: list[tuple]) -> list[list[Any]]:
    out: list[list[Any]] = []
    for base, offset, width, other, to in copies:
        last = out[-1] if out else None
        if last and (last[0], last[3]) == (base, other) and last[1] + last[2] == offset and last[4] + last[2] == to:
            last[2] += width
        else:
            out.append([base, offset, width, other, to])
    return out
