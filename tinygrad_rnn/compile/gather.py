"""After the backward loop: gradients of matrices and of hoisted inputs as large products, the rest as sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import threads
from .layout import Layout, block, select
from .plan import Plan
from .schedule import Place
from .symbol import Symbol
from .views import View, resolve

ROWS = 48  # rows of a weight gradient that one thread takes at a time: the same for every number of threads


class Gather:
    """The work of one plan after its backward loop."""

    def __init__(self, plan: Plan, forward: Layout, reverse: Layout):
        self.plan = plan
        self.forward, self.reverse = forward, reverse
        self.sizes = reverse.sizes
        self.dtype = reverse.dtype
        self.shapes: dict[int, tuple] = {}
        self._plan_inputs()
        self._plan_products()

    def _locate(self, s: Symbol) -> Place:
        """Where the values of `s` at all time steps lie."""
        return self.plan.reverse.kept.get(s.uid) or self.plan.reverse.sources[s.uid]

    def _offset(self, place: Place, batch: int) -> int:
        at = self.reverse.part(place.buffer, place.part) + place.start
        return at + (batch * self.reverse.ld(place.buffer) if place.late else 0)

    # ---- inputs

    def _plan_inputs(self) -> None:
        """Pack the matrices through which cotangents reach the inputs."""
        self.sunk: list[tuple[int, list[tuple[Place, int, int]]]] = []
        self.tables: dict[int, list] = {}
        self.w_size = 0
        for i, terms in self.plan.sunk.items():
            width = self.plan.traced.inputs[i].width
            panels = self.sizes.row([width])
            runs: list[tuple[Place, int, int]] = []
            located = sorted(((self._locate(g), g, w) for g, w in terms), key=lambda p: (p[0].buffer.name, p[0].part))
            j = 0
            while j < len(located):
                stop = j + 1
                while stop < len(located) and _adjacent(located[stop - 1][0], located[stop][0]):
                    stop += 1
                depths = [g.width for _, g, _ in located[j:stop]]
                if stop - j > 1:
                    depths = [self.sizes.part(n) for n in depths]
                depth, row = sum(depths), 0
                for (_, _, w), n in zip(located[j:stop], depths):
                    block(self.tables, resolve(w), self.w_size, depth, row, 0)
                    row += n
                runs.append((located[j][0], depth, self.w_size))
                self.w_size += depth * panels
                j = stop
            self.sunk.append((i, runs))
        self.arrays = {uid: np.array(rows, np.int64) for uid, rows in self.tables.items()}

    def inputs(self, arrays: dict, values: dict, time: int, batch: int, out: list) -> None:
        """Fill in the cotangents of inputs that only products reach."""
        if not self.sunk:
            return
        from ..kernels.bulk import pack_blocks, product

        w = np.zeros(self.w_size, self.dtype)
        for uid, table in self.arrays.items():
            base = values[uid]
            pack_blocks(base.reshape(-1), base.shape[1], table, w, self.sizes.panel)
        rows = time * batch
        for i, runs in self.sunk:
            symbol = self.plan.traced.inputs[i]
            ldc = self.sizes.row([symbol.width])
            c = np.empty(rows * ldc + self.sizes.panel, self.dtype)

            def some_rows(start, stop, runs=runs, c=c, ldc=ldc):
                for n, (place, depth, packed) in enumerate(runs):
                    a, lda = arrays[place.buffer.name], self.reverse.ld(place.buffer)
                    at = self._offset(place, batch) + start * lda
                    product(a, at, lda, stop - start, depth, w, packed, ldc, c, start * ldc, ldc, n > 0)

            threads.run(some_rows, rows, rows * ldc * sum(depth for _, depth, _ in runs))
            out[i] = c[: rows * ldc].reshape(time, batch, ldc)[:, :, : symbol.width]
            if len(symbol.shape) == 1:
                out[i] = out[i][:, :, 0]

    # ---- matrices

    def _plan_products(self) -> None:
        """One product for each rectangle of a parameter; neighbours that lie side by side are one."""
        jobs: list[list[Any]] = []  # base, transposed, a, g, row, column, rows, columns
        for p in self.plan.adjoint.products:
            view = resolve(p.w)
            (_, r0, r1), (_, c0, c1) = view.axes
            self.shapes[view.base.uid] = view.base.shape
            jobs.append([view.base.uid, view.transposed, self._locate(p.a), self._locate(p.g), r0, c0, r1 - r0, c1 - c0])
        jobs.sort(key=lambda j: (j[0], j[1], j[4], j[5], j[3].buffer.name, j[3].part))
        merged: list[list[Any]] = []
        for job in jobs:
            last = merged[-1] if merged else None
            if (
                last is not None
                and last[:3] == job[:3]
                and last[4] == job[4]
                and last[6] == job[6]
                and last[5] + last[7] == job[5]
                and last[3].buffer is job[3].buffer
                and self._offset(last[3], 0) + last[7] == self._offset(job[3], 0)
            ):
                last[7] += job[7]
            else:
                merged.append(list(job))
        self.products = merged

    def invariants(self, arrays: dict, values: dict, time: int, batch: int) -> dict[int, np.ndarray]:
        """Gradients of the wanted invariants, by uid of the base."""
        from ..kernels.bulk import product_tn

        out: dict[int, np.ndarray] = {
            uid: np.zeros(shape, self.dtype) for uid, shape in self.shapes.items()
        }
        steps = time * batch
        for base, transposed, a, g, r0, c0, m, n in self.products:
            grad = out[base]
            left, right = (g, a) if transposed else (a, g)
            if transposed:
                r0, c0, m, n = c0, r0, n, m
            x, y = arrays[left.buffer.name], arrays[right.buffer.name]
            ldx, ldy = self.reverse.ld(left.buffer), self.reverse.ld(right.buffer)
            x0, y0, ldc = self._offset(left, batch), self._offset(right, batch), grad.shape[1]
            flat, at = grad.reshape(-1), r0 * ldc + c0

            def some_rows(start, stop, x=x, y=y, x0=x0, y0=y0, ldx=ldx, ldy=ldy, m=m, n=n, flat=flat, at=at, ldc=ldc):
                first, last = start * ROWS, min(stop * ROWS, m)
                product_tn(x, x0 + first, ldx, y, y0, ldy, steps, last - first, n, flat, at + first * ldc, ldc, True)

            threads.run(some_rows, -(-m // ROWS), steps * m * n)
        self._reductions(arrays, values, time, batch, out)
        return out

    # ---- vectors and constants

    def _reductions(self, arrays: dict, values: dict, time: int, batch: int, out: dict) -> None:
        from ..kernels.bulk import sum_rows

        sums: dict[int, np.ndarray] = {}
        for i, r in enumerate(self.plan.adjoint.reductions):
            width = r.g.width
            view = resolve(r.v)
            base = values[view.base.uid]
            total = self.plan.totals.get(i)
            if total is not None:
                ld = self.reverse.ld(total)
                rows = arrays[total.name][: batch * ld].reshape(batch, ld)[:, :width]
                part = rows if r.v.ndim == 2 and r.v.shape[0] != 1 else rows.sum(axis=0)
            else:
                part = sums.get(r.g.uid)
                if part is None:
                    place = self._locate(r.g)
                    part = sums[r.g.uid] = np.zeros(width, self.dtype)
                    sum_rows(
                        arrays[place.buffer.name], self._offset(place, batch), self.reverse.ld(place.buffer),
                        time * batch, width, part, 0,
                    )  # fmt: skip
            grad = out.get(view.base.uid)
            if grad is None:
                grad = out[view.base.uid] = np.zeros(base.shape, self.dtype)
            _add(select(grad, _for_batch(view, base, r.v, batch)), part)


def _for_batch(view: View, base: np.ndarray, v: Symbol, batch: int) -> View:
    """A constant with a row for each batch row was traced with another number of rows."""
    if v.ndim == 2 and v.shape[0] != 1 and base.shape[0] == batch:
        return view._replace(axes=((0, 0, batch), *view.axes[1:]))
    return view


def _add(target: np.ndarray, part: np.ndarray) -> None:
    """Add `part` to a view of a gradient, summing over what was broadcast."""
    if target.size == 1:
        target += part.sum()
    elif part.shape == target.shape:
        target += part
    elif part.ndim == 2 and target.ndim == 2 and target.shape[1] == 1:
        target += part.sum(axis=1, keepdims=True)
    else:
        target += part.reshape(target.shape)


def _adjacent(a: Place, b: Place) -> bool:
    return (
        a.buffer is b.buffer
        and b.part == a.part + 1
        and a.start == b.start == 0
        and "rows" in a.buffer.name
    )
