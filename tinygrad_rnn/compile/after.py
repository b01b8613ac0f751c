"""After the backward loop: gradients of matrices and of hoisted inputs as large products, the rest as sums."""

from __future__ import annotations

from typing import Any

import numpy as np

from .layout import Layout, Packing, row_start
from .plan import Plan
from .schedule import Place
from .symbol import Symbol
from .views import resolve

# Pieces that threads share out. They depend on shapes alone, so that results do not depend on the threads.
INPUT_ROWS = 240
GRADIENT_ROWS = 256


class After:
    """The jobs of one plan after its backward loop.

    Attributes
    ----------
    grads_size : int
        Elements of ``grads``, which holds the gradients of all bases.
    grad_at : dict
        uid of a base -> its offset there.
    packing : Packing
        Of ``wx``: matrices through which cotangents reach the inputs.
    """

    def __init__(self, plan: Plan, reverse: Layout):
        self.plan = plan
        self.reverse = reverse
        self.sizes = reverse.sizes
        self.packing = Packing(self.sizes, "wx")
        self.grads_size = 0
        self.grad_at: dict[int, int] = {}
        self.shapes: dict[int, tuple] = {}
        adj = plan.adjoint
        for v in [p.w for p in adj.products] + [r.v for r in adj.reductions]:
            base = resolve(v).base
            self.shapes.setdefault(base.uid, base.shape)
        self._pack_inputs()
        self._merge_products()
        self._merge_reductions()

    def _locate(self, s: Symbol) -> Place:
        """Where the values of `s` at all time steps lie."""
        reverse = self.plan.reverse
        return reverse.kept.get(s.uid) or reverse.sources[s.uid]

    # ---- what does not depend on T and the batch

    def _pack_inputs(self) -> None:
        self.sunk: list[
            tuple[int, list[tuple[Place, int, int]]]
        ] = []  # input, (left operand, depth, offset in wx)
        for i, terms in self.plan.sunk.items():
            panels = self.sizes.row([self.plan.traced.inputs[i].width])
            runs = []
            located = [(self._locate(g), g, w) for g, w in terms]
            located.sort(key=lambda p: (p[0].buffer.name, p[0].part))
            while located:
                n = 1
                while n < len(located) and _neighbours(located[n - 1][0], located[n][0]):
                    n += 1
                depths = [g.width if n == 1 else self.sizes.part(g.width) for _, g, _ in located[:n]]
                offset, row = self.packing.reserve(sum(depths) * panels), 0
                for (_, _, w), depth in zip(located, depths):
                    self.packing.matrix(resolve(w), offset, sum(depths), row, 0)
                    row += depth
                runs.append((located[0][0], sum(depths), offset))
                del located[:n]
            self.sunk.append((i, runs))

    def _merge_products(self) -> None:
        """One product for each rectangle of a parameter; cotangents that lie side by side are taken together."""
        jobs: list[list[Any]] = []  # base, transposed, a, g, first row, first column, rows, columns
        for p in self.plan.adjoint.products:
            view = resolve(p.w)
            (_, r0, r1), (_, c0, c1) = view.axes
            jobs.append(
                [
                    view.base.uid,
                    view.transposed,
                    self._locate(p.a),
                    self._locate(p.g),
                    r0,
                    c0,
                    r1 - r0,
                    c1 - c0,
                ]
            )
        jobs.sort(key=lambda j: (j[0], j[1], j[2].buffer.name, j[4], j[5]))
        self.products: list[list[Any]] = []
        for job in jobs:
            last = self.products[-1] if self.products else None
            if last is not None and last[:3] == job[:3] and last[4] == job[4] and last[6] == job[6]:
                if last[5] + last[7] == job[5] and self._follows(last[3], last[7], job[3]):
                    last[7] += job[7]
                    continue
            self.products.append(job)

    def _merge_reductions(self) -> None:
        """Sums of cotangents over rows; of vectors that get the same, one is summed and the others are copied."""
        self.sums: list[list[Any]] = []  # place, width, base, offset in base
        self.copies: list[tuple] = []  # base, offset, width, base, offset
        self.totals: list[tuple] = []  # buffer, base, reduction
        seen: dict[int, tuple[int, int]] = {}
        for i, r in enumerate(self.plan.adjoint.reductions):
            view = resolve(r.v)
            if i in self.plan.totals:
                self.totals.append((self.plan.totals[i], view, r))
                continue
            at = row_start(view)
            if r.g.uid in seen:
                self.copies.append((*seen[r.g.uid], r.g.width, view.base.uid, at))
                continue
            seen[r.g.uid] = (view.base.uid, at)
            self.sums.append([self._locate(r.g), r.g.width, view.base.uid, at])
        self.sums.sort(key=lambda s: (s[2], s[3]))
        self.sums = _merge(self.sums, self._follows)
        self.copies = [tuple(c) for c in _merge_copies(sorted(self.copies, key=lambda c: (c[3], c[4])))]

    def _follows(self, a: Place, width: int, b: Place) -> bool:
        """Whether `b` begins where `width` columns from `a` on end, without padding in between."""
        return a.buffer is b.buffer and a.late == b.late and self._column(a) + width == self._column(b)

    def _column(self, place: Place) -> int:
        return self.sizes.part_at(place.buffer, place.part) + place.start

    # ---- for one T and one batch

    def bind(self, time: int, batch: int, at) -> list[list[tuple]]:
        """Jobs in phases; those of a phase are independent. ``at(place)`` gives (array, offset of row 0)."""
        from ..kernels.jobs import ADD, ADD_ROWS, PRODUCT, PRODUCT_TN, SUM_ROWS

        rows, ld = time * batch, self.sizes.ld
        first: list[tuple] = []
        for i, runs in self.sunk:
            ldc = self.sizes.row([self.plan.traced.inputs[i].width])
            for start in range(0, rows, INPUT_ROWS):
                for n, (place, depth, packed) in enumerate(runs):
                    (name, offset), lda = at(place), ld(place.buffer)
                    count = min(INPUT_ROWS, rows - start)
                    first.append(
                        (PRODUCT, name, f"dx{i}", offset + start * lda, lda, count, depth, "wx", packed, ldc)
                        + (start * ldc, ldc, int(n > 0))
                    )
        later: list[tuple] = []
        written: list[tuple] = []
        for base, transposed, a, g, r0, c0, m, n in self.products:
            left, right = (g, a) if transposed else (a, g)
            if transposed:
                r0, c0, m, n = c0, r0, n, m
            (x, x_at), (y, y_at) = at(left), at(right)
            ldx, ldy, ldc = ld(left.buffer), ld(right.buffer), self.shapes[base][1]
            target = self.grad_at[base] + r0 * ldc + c0
            again = any(w[0] == base and _overlap(w[1:], (r0, c0, m, n)) for w in written)
            written.append((base, r0, c0, m, n))
            for i in range(0, m, GRADIENT_ROWS):
                job = (
                    PRODUCT_TN,
                    x,
                    "grads",
                    x_at + i,
                    ldx,
                    y,
                    y_at,
                    ldy,
                    rows,
                    min(GRADIENT_ROWS, m - i),
                    n,
                )
                (later if again else first).append((*job, target + i * ldc, ldc, int(again)))
        for place, width, base, offset in self.sums:
            name, start = at(place)
            first.append(
                (SUM_ROWS, name, "grads", start, ld(place.buffer), rows, width, self.grad_at[base] + offset)
            )
        last: list[tuple] = []
        for buffer, view, r in self.totals:
            (name, start), width = at(Place(buffer)), r.g.width
            target = self.grad_at[view.base.uid]
            if r.v.ndim == 2 and r.v.shape[0] != 1:
                _, a, _ = view.axes[1]
                ldc = self.shapes[view.base.uid][1]
                last.append((ADD_ROWS, name, "grads", start, ld(buffer), batch, width, target + a, ldc))
            else:
                last.append(
                    (SUM_ROWS, name, "grads", start, ld(buffer), batch, width, target + row_start(view))
                )
        for base, offset, width, other, to in self.copies:
            last.append((ADD, "grads", "grads", self.grad_at[base] + offset, width, self.grad_at[other] + to))
        # a phase whose jobs write to the same places runs in order, on one thread
        return [first, later, last]

    def place_grads(self, batch: int) -> None:
        """Lay out ``grads`` for a batch."""
        rows = {
            resolve(r.v).base.uid for r in self.plan.adjoint.reductions if r.v.ndim == 2 and r.v.shape[0] != 1
        }
        self.grads_size = 0
        for uid, shape in self.shapes.items():
            self.grad_at[uid] = self.grads_size
            self.grads_size += int(np.prod((batch, *shape[1:]) if uid in rows else shape, dtype=int))


def _neighbours(a: Place, b: Place) -> bool:
    return (
        a.buffer is b.buffer and b.part == a.part + 1 and a.start == b.start == 0 and "rows" in a.buffer.name
    )


def _overlap(a: tuple, b: tuple) -> bool:
    (r, c, m, n), (s, d, p, q) = a, b
    return r < s + p and s < r + m and c < d + q and d < c + n


def _merge(sums: list[list[Any]], follows) -> list[list[Any]]:
    out: list[list[Any]] = []
    for s in sums:
        if (
            out
            and out[-1][2] == s[2]
            and out[-1][3] + out[-1][1] == s[3]
            and follows(out[-1][0], out[-1][1], s[0])
        ):
            out[-1][1] += s[1]
        else:
            out.append(list(s))
    return out


def _merge_copies(copies: list[tuple]) -> list[list[Any]]:
    out: list[list[Any]] = []
    for base, offset, width, other, to in copies:
        last = out[-1] if out else None
        if (
            last
            and (last[0], last[3]) == (base, other)
            and last[1] + last[2] == offset
            and last[4] + last[2] == to
        ):
            last[2] += width
        else:
            out.append([base, offset, width, other, to])
    return out
