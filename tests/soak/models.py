"""Random models: operations of every kind between layers, embeddings and heads, drawn by a generator."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import steps as on

LIMIT, SIZE = 4.0, 500  # largest magnitude of a value before it is made tame, and number of elements


class Apply(nn.Module):
    """A function of values of a model, of weights and of settings."""

    def __init__(self, function, *settings, w=None, b=None):
        self.function, self.settings, self.w, self.b = function, settings, w, b

    def forward(self, *xs):
        weights = [p for p in (self.w, self.b) if p is not None]
        return self.function(*xs, *weights, *self.settings)

    def __repr__(self):
        return f"{self.function.__name__}{self.settings}"


class RandomModel(nn.Module):
    """Steps, each of which reads inputs and results of steps before it.

    Attributes
    ----------
    wiring : list of tuples of int
        For each step the numbers of what it reads: inputs come first.
    ends : list of int
        The numbers of the results, the prediction first.
    """

    def __init__(self, steps, wiring, ends):
        self.steps, self.wiring, self.ends = nn.ModuleList(steps), wiring, ends

    def results(self, *inputs):
        """The prediction, and some of what was computed on the way."""
        values = [*inputs]
        for step, at in zip(self.steps, self.wiring):
            values.append(step(*[values[i] for i in at]))
        return [values[i] for i in self.ends]

    def forward(self, *inputs):
        return self.results(*inputs)[0]

    def describe(self) -> str:
        """The steps, one a line, with the numbers of what they read."""
        return "\n".join([*[f"  {at} {step!r}" for at, step in zip(self.wiring, self.steps)], f"  -> {self.ends}"])


class Writer:
    """Writes one model: draws steps, and keeps those that are defined and tame for the inputs at hand.

    Parameters
    ----------
    rng : Generator
    dtype : {"float32", "float64"}
    inputs : list of arrays
    """

    def __init__(self, rng: np.random.Generator, dtype: str, inputs: list[np.ndarray]):
        self.rng, self.dtype, self.first = rng, dtype, len(inputs)
        self.values: list[Any] = [tr.tensor(a) for a in inputs]
        self.steps: list[nn.Module] = []
        self.wiring: list[tuple[int, ...]] = []
        self.weights: list[nn.Parameter] = []

    # ---- choices

    def maybe(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def choice(self, options: Any) -> Any:
        options = list(options)
        return options[int(self.rng.integers(len(options)))]

    def pick(self, least: int = 0, most: int = 9) -> int | None:
        """The number of a value of floats of so many axes, mostly a late one."""
        found = [i for i, v in enumerate(self.values) if v.dtype.kind == "f" and least <= v.ndim <= most]
        if not found:
            return None
        return found[-1 - min(int(self.rng.geometric(0.7)) - 1, len(found) - 1)]

    def fitting(self, i: int) -> int:
        """A value that broadcasts with another one, perhaps the same."""
        shape, found = self.values[i].shape, []
        for k, v in enumerate(self.values):
            try:
                if v.dtype.kind == "f" and np.prod(np.broadcast_shapes(shape, v.shape)) <= SIZE:
                    found.append(k)
            except ValueError:
                continue
        return self.choice(found)

    def weight(self, *shape: int) -> nn.Parameter:
        """A parameter, an old or a new one."""
        same = [w for w in self.weights if w.shape == shape]
        if same and self.maybe(0.3):
            return self.choice(same)
        scale = 1.0 / np.sqrt(max(1, shape[-1] if shape else 1))
        self.weights.append(nn.Parameter((self.rng.normal(size=shape) * scale).astype(self.dtype)))
        return self.weights[-1]

    # ---- writing

    def add(self, at: list[int | None], step: nn.Module) -> bool:
        """Add a step, if what it computes is defined and small; tame it if it is large."""
        if None in at:
            return False
        try:
            with tr.no_grad(), np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                out = step(*[self.values[i] for i in at])
        except (ValueError, IndexError):
            return False
        if not isinstance(out, tr.Tensor) or not 0 < out.size <= SIZE or out.ndim > 5 or out.dtype != self.dtype:
            return False
        if not np.isfinite(out.data).all():
            return False
        self.values.append(out)
        self.steps.append(step)
        self.wiring.append(tuple(at))
        if np.abs(out.data).max() > LIMIT:
            self.add([len(self.values) - 1], Apply(on.tanh))
        return True

    def step(self) -> bool:
        return getattr(self, self.choice(KINDS))()

    def unary(self) -> bool:
        return self.add([self.pick()], Apply(self.choice(on.UNARY)))

    def binary(self) -> bool:
        i = self.pick()
        return i is not None and self.add(
            [i, self.fitting(i)] if self.maybe(0.5) else [self.fitting(i), i], Apply(self.choice(on.BINARY))
        )

    def number(self) -> bool:
        value = self.choice([2, 0.5, -1.5, 3.0])
        return self.add([self.pick()], Apply(self.choice(on.NUMBER), value))

    def vector(self) -> bool:
        i = self.pick()
        if i is None:
            return False
        shape = self.values[i].shape
        shape = self.choice([shape[-1:], (), shape, shape[-2:], tuple([1] * len(shape)), shape[1:]])
        return self.add([i], Apply(self.choice(on.VECTOR), w=self.weight(*shape)))

    def product(self) -> bool:
        i, out = self.pick(1), int(self.rng.integers(1, 6))
        if i is None:
            return False
        n = self.values[i].shape[-1]
        kind = self.choice(["linear", "linear", "linear module", "matmul", "transposed", "vector", "tanh"])
        if kind == "linear module":
            return self.add([i], nn.Linear(n, out, bias=self.maybe(0.7), dtype=self.dtype))
        if kind == "linear":
            return self.add([i], Apply(on.linear, w=self.weight(out, n), b=self.weight(out)))
        if kind == "tanh":
            return self.add([i], Apply(on.dense, w=self.weight(n, out), b=self.weight(out)))
        shape = {"matmul": (n, out), "transposed": (out, n), "vector": (n,)}[kind]
        return self.add([i], Apply(on.transposed if kind == "transposed" else on.matmul, w=self.weight(*shape)))

    def computed_product(self) -> bool:
        i, kind = self.pick(2, 4), self.choice(on.PRODUCTS)
        return i is not None and self.add([i, self.choice([i, self.fitting(i)])], Apply(kind))

    def reduction(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        ndim = self.values[i].ndim
        axis = self.choice([None, -1, 0, int(self.rng.integers(ndim)), tuple(range(ndim))[-2:], tuple(range(ndim))[:2]])
        return self.add([i], Apply(self.choice(on.REDUCTIONS), axis, self.maybe(0.5)))

    def along(self) -> bool:
        i = self.pick(1)
        return i is not None and self.add(
            [i], Apply(self.choice(on.ALONG), int(self.rng.integers(-1, self.values[i].ndim)))
        )

    def shape(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        shape, ndim = self.values[i].shape, self.values[i].ndim
        a, b = (int(n) for n in self.rng.integers(ndim, size=2))
        kind = self.choice(["merge", "cut", "permute", "swap", "expand", "squeeze", "broadcast", "flip", "pad", "flat",
                            "repeat", "tile", "move"])  # fmt: skip
        settings = {
            "merge": lambda: (on.reshape, (*shape[: max(0, ndim - 2)], int(np.prod(shape[max(0, ndim - 2) :])))),
            "flat": lambda: (on.reshape, (-1,) if self.maybe(0.5) else (-1, shape[-1])),
            "cut": lambda: (on.reshape, (*shape[:-1], 2, -1) if shape[-1] % 2 == 0 else (*shape, 1)),
            "permute": lambda: (on.permute, tuple(int(k) for k in self.rng.permutation(ndim))),
            "swap": lambda: (on.swap, a, b),
            "move": lambda: (on.move, a, b),
            "expand": lambda: (on.expand, self.choice([0, -1, a])),
            "squeeze": lambda: (on.squeeze, None if self.maybe(0.5) else a),
            "broadcast": lambda: (on.broadcast, (int(self.rng.integers(1, 4)), *shape)),
            "flip": lambda: (on.flip, a),
            "pad": lambda: (on.pad, tuple([(int(self.rng.integers(2)), int(self.rng.integers(2))) for _ in shape])),
            "repeat": lambda: (on.repeat, 2, a),
            "tile": lambda: (on.tile, (2, 1) if self.maybe(0.5) else 2),
        }[kind]()
        return self.add([i], Apply(*settings))

    def index(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        parts: list[Any] = []
        for n in self.values[i].shape[: int(self.rng.integers(1, self.values[i].ndim + 1))]:
            low = int(self.rng.integers(n))
            slices = [
                (None,),
                (low, None),
                (None, low + 1),
                (None, None, -1),
                (None, None, 2),
                (low, low + 2),
                (-1, None),
            ]
            parts.append(self.choice([*[slice(*s) for s in slices], low, low - n, None, [low, 0]]))
        if self.maybe(0.2):
            parts = [Ellipsis, *parts[:1]]
        if sum(isinstance(p, list) for p in parts) > 1:
            parts = [slice(None) if isinstance(p, list) else p for p in parts]
        return self.add([i], Apply(on.index, tuple(parts)))

    def join(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        same = [k for k, v in enumerate(self.values) if v.dtype.kind == "f" and v.shape == self.values[i].shape]
        axis = int(self.rng.integers(-1, self.values[i].ndim))
        return self.add([i, self.choice(same)], Apply(self.choice([on.concat, on.concat, on.stack]), axis))

    def split(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        axis = int(self.rng.integers(-1, self.values[i].ndim))
        n = self.values[i].shape[axis]
        return self.add([i], Apply(self.choice([on.halves, on.part, on.unstacked]), axis, int(self.rng.integers(n))))

    def where(self) -> bool:
        i = self.pick()
        return i is not None and self.add([i, self.fitting(i)], Apply(self.choice(on.WHERE)))

    def constant(self) -> bool:
        i = self.pick(1)
        if i is None:
            return False
        array = self.rng.normal(size=self.values[i].shape[-1:]).astype(self.dtype)
        mask = self.rng.random(self.values[i].shape) < 0.6
        return self.add([i], Apply(*([on.scaled, array] if self.maybe(0.5) else [on.masked, mask])))

    def normalise(self) -> bool:
        i = self.pick(1)
        if i is None or self.values[i].shape[-1] < 2:
            return False
        shape = self.values[i].shape[-1:] if self.maybe(0.7) else self.values[i].shape[-2:]
        return self.add([i], nn.LayerNorm(shape, elementwise_affine=self.maybe(0.8), dtype=self.dtype))

    def dropout(self) -> bool:
        return self.add([self.pick()], nn.Dropout(0.3))

    def embedding(self) -> bool:
        found = [i for i, v in enumerate(self.values) if v.dtype.kind == "i"]
        if not found:
            return False
        padding = self.choice([None, None, 0, 2])
        table = nn.Embedding(7, int(self.rng.integers(1, 5)), padding_idx=padding, dtype=self.dtype)
        return self.add([self.choice(found)], table)

    def layer(self) -> bool:
        i = self.pick(3, 3)
        if i is None:
            return False
        n, hidden, rng = self.values[i].shape[-1], int(self.rng.integers(1, 6)), self.rng
        options: dict[str, Any] = {"num_layers": self.choice([1, 1, 1, 2]), "dtype": self.dtype}
        options |= {k: True for k in ("batch_first", "learn_initial_state") if self.maybe(0.3)}
        if self.maybe(0.3):
            options |= {"bidirectional": True, "merge": self.choice(["concat", "sum", "mean"])}
        elif self.maybe(0.2):
            options["reverse"] = True
        if options["num_layers"] > 1 and self.maybe(0.4):
            options["dropout"] = 0.3
        if self.maybe(0.2):
            options[self.choice(["input_dropout", "recurrent_dropout", "weight_dropout", "zoneout"])] = 0.25
        kind = self.choice([nn.RNN, nn.LSTM, nn.GRU, "cell", "cell"])
        if kind == "cell":
            name = self.choice(nn.cell_names())
            made: nn.Module = nn.Recurrent(
                nn.cell_by_name(name)(n, max(2, hidden), dtype=self.dtype), reverse=self.maybe(0.3)
            )
        else:
            if kind is nn.LSTM and hidden > 1 and rng.random() < 0.2:
                options["proj_size"] = int(rng.integers(1, hidden))
            made = kind(n, hidden, **options)
        return self.add([i], on.Layer(made, self.choice(["outputs", "outputs", "outputs", "last", "state"])))


# as often as they are named
KINDS = [
    "unary", "unary", "binary", "binary", "number", "vector", "vector", "product", "product", "product",
    "computed_product", "reduction", "reduction", "along", "shape", "shape", "index", "join", "split", "where",
    "constant", "normalise", "dropout", "embedding", "layer", "layer",
]  # fmt: skip


def draw_model(rng: np.random.Generator, dtype: str) -> tuple[RandomModel, list[np.ndarray]]:
    """A random model, in training mode, and inputs for it."""
    time, batch, width = (int(rng.integers(1, n)) for n in (5, 5, 6))
    kinds = [(time, batch, width), (batch, width), (batch,), (time, batch), (batch, time, width)]
    inputs = [rng.normal(size=kinds[int(k)]).astype(dtype) for k in rng.choice(len(kinds), rng.integers(1, 3))]
    if rng.random() < 0.4:
        ids = rng.integers(0, 7, (time, batch) if rng.random() < 0.7 else (batch,))
        inputs.append(ids.astype(rng.choice(["int64", "int32", "uint8"])))
    writer = Writer(rng, dtype, inputs)
    if rng.random() < 0.5:
        writer.embedding()
        writer.layer()
    wanted = int(rng.integers(4, 16))
    for _ in range(4 * wanted):
        wanted -= writer.step()
        if wanted <= 0:
            break
    if not writer.weights and not any([*step.parameters()] for step in writer.steps):
        while not writer.vector():
            continue
    return pruned(writer, rng), inputs


def pruned(writer: Writer, rng: np.random.Generator) -> RandomModel:
    """The model of what the last value with a weight needs, and of one or two values on the way."""
    first, needed = writer.first, set()
    last = max(k for k, step in enumerate(writer.steps) if [*step.parameters()])
    end = len(writer.values) - 1
    after = {first + last}
    for k in range(last + 1, len(writer.steps)):
        if after & set(writer.wiring[k]):
            after.add(first + k)
    end = max(after)
    stack = [end]
    while stack:
        i = stack.pop()
        if i not in needed and i >= first:
            needed.add(i)
            stack += writer.wiring[i - first]
    kept = sorted(needed)
    place = {i: i for i in range(first)} | {i: first + k for k, i in enumerate(kept)}
    wiring = [tuple([place[i] for i in writer.wiring[k - first]]) for k in kept]
    others = [int(i) for i in rng.choice(kept, int(rng.integers(0, 3)))]
    return RandomModel([writer.steps[i - first] for i in kept], wiring, [place[i] for i in (end, *others)])
