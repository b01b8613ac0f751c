"""Random recurrent cells of values of any rank, determined by a random generator.

Values are kept within bounds, so that rounding errors stay small and results can be compared.

Examples
--------
>>> import numpy as np
>>> from tinygrad_rnn.testing.ranked_cells import random_ranked_cell
>>> cell = random_ranked_cell(np.random.default_rng(0))
>>> x, state = cell.example_input(1, 2), cell.example_state(2)
>>> y, new = cell.step(x[0], state)
>>> [a.shape == b.shape for a, b in zip(new, state)] == [True] * len(state)
True
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import nn, ops
from ..core import Tensor

Shape = tuple[int, ...]
MOST = 36  # features of a value

SMOOTH: dict[str, Callable] = {
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "sin": ops.sin,
    "softplus": lambda a: ops.tanh(ops.softplus(a)),
    "half": lambda a: 0.5 * a,
}
UNARY = SMOOTH | {"relu": ops.relu, "abs": ops.abs}
BINARY: dict[str, Callable] = {
    "add": lambda a, b: 0.5 * (a + b),
    "subtract": lambda a, b: 0.5 * (a - b),
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1.5 + b * b),
    "maximum": ops.maximum,
    "where": lambda a, b: ops.where(a > b, a, 0.5 * b),
    "masked": lambda a, b: a * ((a < 0.3) | (b > 0.1)),
}
REDUCE: dict[str, Callable] = {
    "sum": lambda a, axis, keep: ops.tanh(a.sum(axis=axis, keepdims=keep)),
    "mean": lambda a, axis, keep: a.mean(axis=axis, keepdims=keep),
    "max": lambda a, axis, keep: a.max(axis=axis, keepdims=keep),
    "min": lambda a, axis, keep: a.min(axis=axis, keepdims=keep),
    "logsumexp": lambda a, axis, keep: ops.tanh(ops.logsumexp(a, axis=axis, keepdims=keep)),
    "var": lambda a, axis, keep: ops.var(a, axis=axis, keepdims=keep),
    "median": lambda a, axis, keep: ops.median(a, axis=axis, keepdims=keep),
    "share": lambda a, axis, keep: (a > 0.1).astype(a.dtype).mean(axis=axis, keepdims=keep),
}
ALONG: dict[str, Callable] = {
    "softmax": ops.softmax,
    "log_softmax": lambda a, axis: ops.tanh(0.3 * ops.log_softmax(a, axis)),
    "cumsum": lambda a, axis: ops.tanh(ops.cumsum(a, axis[0])),
    "centre": lambda a, axis: a - a.mean(axis=axis, keepdims=True),
    "cumprod": lambda a, axis: ops.tanh(ops.cumprod(a, axis[-1])),
    "sort": lambda a, axis: ops.sort(a, axis=axis[0], descending=len(axis) > 1),
    "argsort": lambda a, axis: a * ops.argsort(a, axis=axis[-1]) * 0.1,
    "topk": lambda a, axis: a * 0.5 * ops.topk(a, 1, axis=axis[-1])[0],
}
INNER: dict[str, Callable] = {  # what inner loops repeat: of a value, what it begins with and a matrix
    "a product": lambda s, u, w: ops.tanh(s @ w + u),
    "a small step": lambda s, u, w: s + 0.2 * (ops.tanh(u) - s @ w),
    "a gate": lambda s, u, w: ops.sigmoid(s * w[0] + u) * s,
    "a share": lambda s, u, w: ops.softmax(s + u, -1) + 0.3 * s,
}
INDEX: dict[str, Callable] = {  # row numbers of a table, from a value along its last axis
    "largest": lambda a, rows: ops.argmax(a, axis=-1) % rows,
    "cut": lambda a, rows: (8 * a.sum(axis=-1)).astype("int64") % rows,
    "from the end": lambda a, rows: ops.argmin(a, axis=-1) % rows - rows,
    "count": lambda a, rows: (a > 0).sum(axis=-1) % rows,
    "bits": lambda a, rows: (((8 * a.sum(axis=-1)).astype("int64") & 13) ^ 3) % rows,
}
KINKS = {"relu", "abs", "maximum", "where", "masked", "max", "min", "look-up", "median", "share"}
KINKS |= {"sort", "argsort", "topk"}


class RankedCell(nn.Cell):
    """A cell whose step runs a list of functions, each of the values before it.

    Attributes
    ----------
    row : tuple
        Shape of a row of the input.
    rows : list of tuple
        Those of the states.
    program : list of (text, function)
        ``function(cell, values)`` gives the next value; values begin with the input and the states.
    smooth : bool
        Whether finite differences are meaningful.
    """

    def __init__(self, row: Shape, rows: list[Shape], seed: int, dtype: Any):
        self.row, self.rows, self.seed, self.kind = row, tuple(rows), seed, np.dtype(dtype).name
        self.program: Any = []
        self.outputs: Any = []
        self.new_states: Any = []
        self.smooth = True

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.kind)

    def initial_state(self, batch_size: int) -> list[Tensor]:
        return [ops.zeros((batch_size, *row), self.dtype) for row in self.rows]

    def example_input(self, time: int, batch: int) -> Tensor:
        """A random sequence that fits the cell."""
        rng = np.random.default_rng(self.seed + 1)
        return Tensor(rng.uniform(-1, 1, (time, batch, *self.row)).astype(self.dtype), True)

    def example_state(self, batch: int) -> list[Tensor]:
        """A random state that fits the cell."""
        rng = np.random.default_rng(self.seed + 2)
        return [Tensor(rng.uniform(-1, 1, (batch, *row)).astype(self.dtype), True) for row in self.rows]

    def step(self, x, state):
        values = [x, *state]
        for _, function in self.program:
            values.append(function(self, values))
        return tuple(values[i] for i in self.outputs), [values[i] for i in self.new_states]

    def extra_repr(self) -> str:
        return f"input {self.row}, states {self.rows}: {'; '.join(text for text, _ in self.program)}"


class _Writer:
    """Writes the program of a cell by random choices."""

    def __init__(self, rng: np.random.Generator, cell: RankedCell):
        self.rng, self.cell, self.shapes = rng, cell, [cell.row, *cell.rows]

    def pick(self, options: Any) -> Any:
        options = list(options)
        return options[self.rng.integers(len(options))]

    def some(self, options: Any) -> list[Any]:
        """Some of them, at least one, in their order."""
        chosen = [o for o in options if self.rng.random() < 0.5]
        return chosen or [self.pick(options)]

    def add(self, text: str, shape: Shape, function: Callable) -> int:
        self.cell.program.append((f"v{len(self.shapes)} = {text}", function))
        self.shapes.append(tuple(shape))
        return len(self.shapes) - 1

    def parameter(self, shape: Shape) -> str:
        name = f"p{sum(1 for _ in self.cell.parameters())}"
        bound = 1.2 / math.sqrt(max(1, shape[-2] if len(shape) > 1 else 1))
        setattr(self.cell, name, nn.Parameter(self.rng.uniform(-bound, bound, shape).astype(self.cell.dtype)))
        return name

    def reach(self, at: int, shape: Shape) -> int:
        """A value of this shape that is computed from one."""
        if self.shapes[at] == shape:
            return at
        size, wanted = math.prod(self.shapes[at]), math.prod(shape)
        if size != wanted:
            w = self.parameter((size, wanted))
            at = self.add(
                f"flat(v{at}) @ {w}", (wanted,), lambda c, v, a=at: ops.tanh(v[a].reshape((-1, size)) @ getattr(c, w))
            )
        return self.add(f"v{at} as {shape}", shape, lambda c, v, a=at: v[a].reshape((-1, *shape)))

    def instruction(self) -> None:
        at = self.pick(range(len(self.shapes)))
        shape = self.shapes[at]
        kinds = ["unary", "binary", "parameter", "reshape", "outer", "product"]
        kinds += ["reduce", "reduce", "along", "transpose", "index", "join", "pad", "contract", "heads"] * bool(shape)
        kinds += ["inner_loop", "look_up"] * bool(shape)
        getattr(self, f"_{self.pick(kinds)}")(at, shape)

    # ---- kinds of instructions: each adds values

    def _unary(self, at: int, shape: Shape) -> None:
        name = self.pick(UNARY)
        self.note(name)
        self.add(f"{name}(v{at})", shape, lambda c, v: UNARY[name](v[at]))

    def note(self, name: str) -> None:
        self.cell.smooth &= name not in KINKS

    def _binary(self, at: int, shape: Shape) -> None:
        name = self.pick(BINARY)
        self.note(name)
        other = tuple(n if self.rng.random() < 0.6 else 1 for n in shape)
        same = [i for i, s in enumerate(self.shapes) if _broadcasts(s, shape)]
        b = (
            self.pick(same)
            if same and self.rng.random() < 0.5
            else self.reach(self.pick(range(len(self.shapes))), other)
        )
        found = np.broadcast_shapes(shape, self.shapes[b])
        if math.prod(found) <= MOST:
            first, second = (at, b) if self.rng.random() < 0.5 else (b, at)
            self.add(f"{name}(v{first}, v{second})", found, lambda c, v: BINARY[name](v[first], v[second]))

    def _parameter(self, at: int, shape: Shape) -> None:
        own = tuple(n if self.rng.random() < 0.6 else 1 for n in shape)[self.rng.integers(len(shape) + 1) :]
        p = self.parameter(own)
        if self.rng.random() < 0.5:
            self.add(f"v{at} * {p}", shape, lambda c, v: v[at] * getattr(c, p))
        else:
            self.add(f"tanh(v{at} + {p})", shape, lambda c, v: ops.tanh(v[at] + getattr(c, p)))

    def _reduce(self, at: int, shape: Shape) -> None:
        name, axes, keep = self.pick(REDUCE), self.some(range(len(shape))), bool(self.rng.random() < 0.5)
        self.note(name)
        axis = tuple(a + 1 for a in axes)
        kept = tuple(1 if i in axes else n for i, n in enumerate(shape) if keep or i not in axes)
        self.add(f"{name}(v{at}, {axis})", kept, lambda c, v: REDUCE[name](v[at], axis, keep))

    def _along(self, at: int, shape: Shape) -> None:
        name, axis = self.pick(ALONG), tuple(a + 1 for a in self.some(range(len(shape))))
        self.note(name)
        self.add(f"{name}(v{at}, {axis})", shape, lambda c, v: ALONG[name](v[at], axis))

    def _transpose(self, at: int, shape: Shape) -> None:
        order = [int(i) for i in self.rng.permutation(len(shape))]
        axes = (0, *(i + 1 for i in order))
        self.add(f"v{at}.transpose{axes}", tuple(shape[i] for i in order), lambda c, v: v[at].transpose(axes))

    def _reshape(self, at: int, shape: Shape) -> None:
        left, found = math.prod(shape), []
        while left > 1:
            n = self.pick([n for n in range(2, left + 1) if left % n == 0])
            found.append(n)
            left //= n
        if self.rng.random() < 0.3:
            found.insert(self.rng.integers(len(found) + 1), 1)
        self.add(f"v{at} as {tuple(found)}", tuple(found), lambda c, v: v[at].reshape((-1, *found)))

    def _index(self, at: int, shape: Shape) -> None:
        index: list[Any] = [slice(None)]
        for n in shape:
            one = self.rng.integers(n)
            choices = [slice(None), slice(None), int(one), slice(int(one), None), slice(None, None, -1), slice(0, n, 2)]
            index.append(self.pick([*choices, None]))
            if index[-1] is None:
                index.append(slice(None))
        if self.rng.random() < 0.3:
            axis = self.rng.integers(len(shape))
            index = [slice(None)] * (1 + axis) + [self.rng.integers(-shape[axis], shape[axis], self.rng.integers(1, 5))]
        found = np.empty((2, *shape))[tuple(index)].shape[1:]
        if found and math.prod(found) <= MOST:
            self.add(f"v{at}[{index}]", found, lambda c, v: v[at][tuple(index)])

    def _join(self, at: int, shape: Shape) -> None:
        if 2 * math.prod(shape) > MOST:
            return
        axis = int(self.rng.integers(len(shape)))
        other = (*shape[:axis], int(self.rng.integers(1, 3)), *shape[axis + 1 :])
        same = [i for i, s in enumerate(self.shapes) if s == shape]
        if self.rng.random() < 0.4:
            b, found = self.pick(same), (*shape[:axis], 2, *shape[axis:])
            self.add(f"stack(v{at}, v{b})", found, lambda c, v: ops.stack([v[at], v[b]], axis=axis + 1))
            return
        b = self.reach(at, other)
        found = (*shape[:axis], shape[axis] + other[axis], *shape[axis + 1 :])
        whole = self.add(f"concat(v{at}, v{b})", found, lambda c, v: ops.concat([v[at], v[b]], axis=axis + 1))
        cut = int(self.rng.integers(1, found[axis]))
        part = (*found[:axis], cut, *found[axis + 1 :])
        self.add(f"split(v{whole})", part, lambda c, v: ops.split(v[whole], [cut], axis=axis + 1)[0])

    def _pad(self, at: int, shape: Shape) -> None:
        widths = [(int(self.rng.integers(2)), int(self.rng.integers(2))) for _ in shape]
        found = tuple(n + a + b for n, (a, b) in zip(shape, widths))
        value = self.pick([0.0, 0.5])
        if math.prod(found) <= MOST:
            self.add(f"pad(v{at})", found, lambda c, v: ops.pad(v[at], [(0, 0), *widths], constant_values=value))

    def _outer(self, at: int, shape: Shape) -> None:
        b = self.pick(range(len(self.shapes)))
        found = (*shape, *self.shapes[b])
        if len(found) <= 4 and math.prod(found) <= MOST:
            mine, others = "ijkl"[: len(shape)], "pqrs"[: len(self.shapes[b])]
            text = f"Z{mine},Z{others}->Z{mine}{others}"
            self.add(f"einsum({text}, v{at}, v{b})", found, lambda c, v: ops.einsum(text, v[at], v[b]))

    def _contract(self, at: int, shape: Shape) -> None:
        """A sum of products with a value that has some of the axes, and perhaps one more."""
        mine = "ijkl"[: len(shape)]
        common = self.some(mine)
        more = [("q", int(self.rng.integers(1, 4)))] * bool(self.rng.random() < 0.5)
        sizes = dict(zip(mine, shape)) | dict(more)
        others = "".join(self.rng.permutation([*common, *(label for label, _ in more)]))
        b = self.reach(self.pick(range(len(self.shapes))), tuple(sizes[label] for label in others))
        summed = [label for label in mine if self.rng.random() < 0.4]
        out = "".join(self.rng.permutation([label for label in sizes if label not in summed]))
        found = tuple(sizes[label] for label in out)
        text = f"Z{mine},Z{others}->Z{out}"
        if math.prod(found) <= MOST:
            self.add(f"einsum({text}, v{at}, v{b})", found, lambda c, v: ops.tanh(ops.einsum(text, v[at], v[b])))

    def _product(self, at: int, shape: Shape) -> None:
        n = int(self.rng.integers(1, 4))
        w = self.parameter((shape[-1] if shape else 1, n))
        found = (*shape[:-1], n)
        if not shape:
            self.add(f"v{at}[:, None] @ {w}", found, lambda c, v: ops.tanh(v[at][:, None] @ getattr(c, w)))
        elif math.prod(found) <= MOST:
            self.add(f"v{at} @ {w}", found, lambda c, v: ops.tanh(v[at] @ getattr(c, w)))

    def _heads(self, at: int, shape: Shape) -> None:
        """A product with a stack of matrices, one for each element of some axes, in any order of axes."""
        n, mine = int(self.rng.integers(1, 4)), "ijkl"[: len(shape)]
        summed = self.pick(mine)
        kept = [label for label in mine if label != summed]
        heads = [label for label in kept if self.rng.random() < 0.6]
        sizes = dict(zip(mine, shape)) | {"q": n}
        of_w, out = ("".join(self.rng.permutation(labels)) for labels in ([*heads, summed, "q"], [*kept, "q"]))
        w = self.parameter(tuple(sizes[label] for label in of_w))
        text = f"Z{mine},{of_w}->Z{out}"
        found = tuple(sizes[label] for label in out)
        if math.prod(found) <= MOST:
            self.add(
                f"einsum({text}, v{at}, {w})", found, lambda c, v: ops.tanh(ops.einsum(text, v[at], getattr(c, w)))
            )

    def _inner_loop(self, at: int, shape: Shape) -> None:
        name, n = self.pick(INNER), int(self.rng.integers(2, 10))
        w, b = self.parameter((shape[-1], shape[-1])), self.reach(self.pick(range(len(self.shapes))), shape)
        step, pair = INNER[name], bool(self.rng.random() < 0.3)

        def run(c, v):
            m = getattr(c, w)
            if pair:
                return ops.repeat(n, lambda s: (step(s[1], v[b], m), ops.tanh(s[0])), (v[at], v[b]))[0]
            return ops.tanh(ops.repeat(n, lambda s: step(s, v[b], m), v[at]))

        self.add(f"{n} times {name}{' of two' * pair}(v{at}, v{b}, {w})", shape, run)

    def _look_up(self, at: int, shape: Shape) -> None:
        self.note("look-up")
        rows, width, name = int(self.rng.integers(1, 6)), int(self.rng.integers(1, 4)), self.pick(INDEX)
        found = (*shape[:-1], width)
        if math.prod(found) <= MOST:
            w = self.parameter((rows, width))
            self.add(
                f"{w}[{name} of v{at}]", found, lambda c, v: ops.take(getattr(c, w), INDEX[name](v[at], rows), axis=0)
            )


def _broadcasts(a: Shape, b: Shape) -> bool:
    return len(a) == len(b) and all(m == n or 1 in (m, n) for m, n in zip(a, b))


def random_ranked_cell(rng: np.random.Generator, most: int = 8, dtype: Any = np.float64) -> RankedCell:
    """One random cell, determined by the state of the generator.

    Parameters
    ----------
    most : int
        Instructions, but for those that give values the shapes that are wanted.
    """

    def shape():
        few = [int(n) for n in rng.integers(1, 4, rng.integers(1, 4))]
        if len(few) < 3 and rng.random() < 0.5:  # whole vectors and parts of them
            few[rng.integers(len(few))] = int(rng.integers(4, 10))
        return tuple(few)

    cell = RankedCell(shape(), [shape() for _ in range(rng.integers(1, 3))], int(rng.integers(1 << 16)), dtype)
    writer = _Writer(rng, cell)
    for _ in range(rng.integers(2, most + 1)):
        writer.instruction()
    late = range(max(0, len(writer.shapes) - 4), len(writer.shapes))
    cell.new_states = [writer.reach(writer.pick(late), row) for row in cell.rows]
    cell.outputs = [writer.pick(range(len(writer.shapes))) for _ in range(rng.integers(1, 3))]
    return cell
