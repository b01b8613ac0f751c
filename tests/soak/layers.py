"""Random layers: of every built-in cell, of cells of the tests' tables, and of cells that are written at random."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.core import tree
from tinygrad_rnn.modules.module import Module
from tinygrad_rnn.recurrent.layers.regularisers import takes_mask
from tinygrad_rnn.testing.cell_table import CELLS
from tinygrad_rnn.testing.integer_cells import random_integer_cell
from tinygrad_rnn.testing.random_cells import random_cell
from tinygrad_rnn.testing.ranked_cells import random_ranked_cell

from ..compiler import corner_cells as table
from ..recurrent.sequences import is_shape

WIDTHS = [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33]
WRITTEN = 150  # random cells of one seed
NOISE = ("none", "none", "none", "input_dropout", "recurrent_dropout", "weight_dropout", "zoneout", "two kinds")


class Subject:
    """A layer under test, and what it takes.

    Attributes
    ----------
    layer : Module
        Its ``mode`` says how it runs.
    kind : str
        The name of its cell.
    options : dict
    compiles : bool
        Whether its cells are meant to compile.
    noisy : bool
        Whether it draws random numbers in training.
    differentiable : bool
        Whether finite differences mean anything where the loss is smooth: nothing is detached.
    rows_alike : bool
        Whether a row gives the same alone: nothing is drawn for each row in ``begin_sequence``.
    needs : list of (bool, bool)
        Whether inputs and states of its calls need gradients; each pair is a loop to compile.
    all_states : bool
        Whether calls may ask for all states, which is another program.
    frozen : int
        Which of its parameters is frozen at times.
    """

    def __init__(
        self,
        layer: Module,
        kind: str,
        options: dict[str, Any],
        template: Any = None,
        compiles: bool = True,
        noisy: bool = False,
        differentiable: bool = True,
        rows_alike: bool = True,
    ):
        self.layer: Any = layer
        self.kind, self.options, self.compiles = kind, options, compiles
        self.noisy, self.differentiable, self.rows_alike = noisy, differentiable, rows_alike
        self._template = template
        self.needs = [(True, True), (True, False), (False, True), (False, False)]
        self.all_states, self.frozen = True, 0
        self.steppers: dict = {}  # by mode and batch: the layer, and its stepper

    @property
    def layered(self) -> bool:
        return hasattr(self.layer, "_cells")

    @property
    def two_ways(self) -> bool:
        return isinstance(self.layer, nn.Bidirectional) or getattr(self.layer, "bidirectional", False)

    @property
    def cells(self) -> list:
        if self.layered:
            return list(self.layer._cells)
        return [self.layer.cell_fw, self.layer.cell_bw] if self.two_ways else [self.layer.cell]

    @property
    def dtype(self) -> np.dtype:
        return self.cells[0].dtype

    def inputs(self, rng: np.random.Generator, time: int, batch: int) -> Any:
        """Random sequences as arrays, time first."""
        example = np.zeros((1, self.cells[0].input_size)) if self._template is None else self._template

        def one(like):
            shape = (time, batch, *like.shape[1:])
            if like.dtype.kind == "i":
                return rng.integers(-9, 10, shape)
            return rng.random(shape) < 0.7 if like.dtype.kind == "b" else rng.uniform(-1, 1, shape).astype(self.dtype)

        return tree.map(one, example)

    def states(self, rng: np.random.Generator, batch: int) -> Any:
        """A random state as arrays, as the layer takes it."""

        def one(like, *lead):
            shape = (*lead, batch, *like.shape[1:])
            if like.dtype.kind == "b":
                return rng.random(shape) < 0.5
            if like.dtype.kind == "i":
                return rng.integers(-9, 10, shape)
            return rng.uniform(-1, 1, shape).astype(like.dtype)

        if self.layered:
            return tree.map(lambda s: one(s, len(self.cells)), self.cells[0].initial_state(1))
        each = [tree.map(one, cell.initial_state(1)) for cell in self.cells]
        return tuple(each) if self.two_ways else each[0]


def draw_subject(rng: np.random.Generator, seed: int) -> Subject:
    """A layer with random options."""
    tr.seed(int(rng.integers(2**31)))
    kind = rng.choice(["layered", "named", "stacked", "table", "own", "random"], p=[0.4, 0.16, 0.08, 0.12, 0.08, 0.16])
    subject = {
        "layered": _layered, "named": _named, "stacked": _stacked, "table": _of_table, "own": _own, "random": _random,
    }[kind](rng, seed)  # fmt: skip
    subject.needs = [subject.needs[i] for i in rng.integers(len(subject.needs), size=2)]
    subject.all_states, subject.frozen = _maybe(rng, 0.3), int(rng.integers(100))
    for name, p in subject.layer.named_parameters():
        if "initial_state" in name:  # zeros would hide mistakes
            nn.init.set_to(p, rng.uniform(-1, 1, p.shape))
    return subject


def _maybe(rng, p: float = 0.5) -> bool:
    return bool(rng.random() < p)


def _width(rng) -> int:
    return int(rng.choice(WIDTHS)) if _maybe(rng, 0.9) else 64


def _dtype(rng) -> str:
    return "float64" if _maybe(rng, 0.6) else "float32"


def _noise(rng) -> dict[str, Any]:
    """None, one or two kinds of noise, as options of a layer."""
    names = [str(rng.choice(NOISE))]
    if names == ["two kinds"]:
        names = list(rng.choice([n for n in NOISE if n not in ("none", "two kinds")], 2, replace=False))
    return {str(name): float(rng.choice([0.2, 0.5])) for name in names if name != "none"}


def _layered(rng, seed: int) -> Subject:
    kind = [nn.RNN, nn.LSTM, nn.GRU][int(rng.integers(3))]
    options: dict[str, Any] = {"num_layers": int(rng.choice([1, 1, 2, 3])), "dtype": _dtype(rng)}
    options |= {name: True for name in ("batch_first", "learn_initial_state") if _maybe(rng, 0.3)}
    if _maybe(rng, 0.3):
        options |= {"bidirectional": True, "merge": str(rng.choice(["concat", "sum", "mean"]))}
    elif _maybe(rng, 0.2):
        options["reverse"] = True
    if _maybe(rng, 0.15):
        options["bias"] = False
    if _maybe(rng, 0.3):
        options["init"] = "torch"
    if _maybe(rng, 0.15):
        options["checkpoint_every"] = int(rng.integers(1, 6))
    if options["num_layers"] > 1 and _maybe(rng, 0.2):
        options["dropout"] = 0.3
    if kind is nn.RNN:
        options["nonlinearity"] = str(rng.choice(["tanh", "tanh", "relu", "sigmoid"]))
    if kind is nn.GRU and _maybe(rng, 0.3):
        options["reset_after"] = False
    hidden = _width(rng)
    if kind is nn.LSTM and hidden > 1 and _maybe(rng, 0.25):
        options["proj_size"] = int(rng.integers(1, hidden))
    noise = _noise(rng)
    layer = kind(_width(rng), hidden, **options, **noise)
    return Subject(layer, kind.__name__, options | noise, noisy=bool(noise) or "dropout" in options)


def _options(rng) -> dict[str, Any]:
    """Options of nn.Recurrent."""
    options: dict[str, Any] = {
        name: True for name in ("batch_first", "reverse", "learn_initial_state") if _maybe(rng, 0.25)
    }
    if _maybe(rng, 0.15):
        options["checkpoint_every"] = int(rng.integers(1, 6))
    return options


def _wrap(rng, cells: list, kind: str, options: dict[str, Any], noise: dict[str, float] | None = None, **more):
    """One cell or two as a layer."""
    more |= {"noisy": bool(noise)}
    if any(not tree.flatten(cell.initial_state(1))[0] for cell in cells):
        options.pop("learn_initial_state", None)
    if len(cells) == 1:
        return Subject(nn.Recurrent(cells[0], **options), kind, options | (noise or {}), **more)
    options.pop("reverse", None)
    options["merge"] = str(rng.choice(["concat", "sum", "mean"]))
    layer = nn.Bidirectional(*cells, **options)
    return Subject(layer, kind, options | (noise or {}) | {"bidirectional": True}, **more)


def _built_in(rng, name: str, width: int, hidden: int, dtype: str, noise: dict[str, float]) -> Any:
    if "layernorm" in name:  # of one feature, its gradient is zero, and of that, rounding is multiplied by 300
        hidden = max(hidden, 2)
    cell: Any = nn.cell_by_name(name)(width, hidden, dtype=dtype)
    if "weight_dropout" in noise and any(n == "weight_hh" for n, _ in cell.named_parameters()):
        cell = nn.WeightDrop(cell, noise["weight_dropout"])
    states = noise.get("recurrent_dropout", 0.0) if takes_mask(cell) else 0.0
    if states or "input_dropout" in noise:
        cell = nn.VariationalDropout(cell, noise.get("input_dropout", 0.0), states)
    return nn.Zoneout(cell, noise["zoneout"]) if "zoneout" in noise else cell


def _named(rng, seed: int) -> Subject:
    name, options, noise = str(rng.choice(nn.cell_names())), _options(rng), _noise(rng)
    width, hidden, dtype = _width(rng), _width(rng), _dtype(rng)
    ways = 2 if _maybe(rng, 0.25) else 1
    cells = [_built_in(rng, name, width, hidden, dtype, noise) for _ in range(ways)]
    return _wrap(rng, cells, name, options, noise)


def _stacked(rng, seed: int) -> Subject:
    """Two cells as one, out of a few pairs; or one cell twice, whose gradients come from two places."""
    pair = np.random.default_rng([seed, int(rng.integers(12))]).choice(nn.cell_names(), 2)
    options, dtype, (width, hidden, last) = _options(rng), _dtype(rng), (_width(rng) for _ in range(3))
    if _maybe(rng, 0.3):
        twice = _built_in(rng, str(pair[0]), hidden, hidden, dtype, {})
        if (twice.output_size or twice.hidden_size) == twice.input_size:
            return _wrap(rng, [nn.Stacked([twice, twice])], f"{pair[0]} twice", options)
    first = _built_in(rng, str(pair[0]), width, hidden, dtype, {})
    second = _built_in(rng, str(pair[1]), first.output_size or first.hidden_size, last, dtype, {})
    return _wrap(rng, [nn.Stacked([first, second])], f"{pair[0]} + {pair[1]}", options)


def _of_table(rng, seed: int) -> Subject:
    case = table.CASES[int(rng.integers(len(table.CASES)))]
    width, hidden = _width(rng), max(2, _width(rng))
    # in float32 some value of an hour is so near to a jump that loop and tape are on different sides of it
    dtype = "float64" if case.name == "rounding" else _dtype(rng)
    cell = case.cell(width, hidden, dtype, int(rng.integers(100)))
    template = tree.map(lambda s: np.zeros((1, *s.sizes), s.dtype or float), case.inputs(width, hidden))
    options = _options(rng)
    if any(s.dtype == "bool" for s in tree.flatten(case.state(width, hidden))[0]):
        options.pop("learn_initial_state", None)
    more = {"differentiable": case.name != "detached", "rows_alike": case.begin is None}
    return _wrap(rng, [cell], case.name, options, template=template, **more)


def _own(rng, seed: int) -> Subject:
    users = [c for c in CELLS if c.name.startswith("own") or c.inputs or c.name in OWN]
    case = users[int(rng.integers(len(users)))]
    width, hidden = _width(rng), _width(rng)
    cell: Any = case.make(width, hidden, _dtype(rng))
    shapes = case.shapes(1, 1, width, hidden)
    template = np.zeros(shapes[1:]) if is_shape(shapes) else {k: np.zeros(s[1:]) for k, s in shapes.items()}
    return _wrap(rng, [cell], case.name, _options(rng), template=template, compiles=case.compiled)


OWN = ("learned-start", "fast-weights", "stateless", "layernorm-lstm", "gru-before", "lstm-projected", "stacked")


def _random(rng, seed: int) -> Subject:
    """A cell that was written at random, out of so many that what is compiled comes again."""
    number = int(rng.integers(WRITTEN))
    cell = random_cell(np.random.default_rng([seed, number]), max_instructions=9)
    if cell.smooth and _maybe(rng, 0.4):  # others compare values, and almost equal ones may go either way
        cell.to("float32")
        cell.kind = "float32"
    template = {f"x{i}": np.zeros((1, n)) for i, n in enumerate(cell.inputs)}
    more = {"differentiable": all(name != "detach" for name, *_ in cell.program), "rows_alike": not cell.constants}
    return _wrap(rng, [cell], "random", _options(rng), template=template, **more)


def draw_cell(rng: np.random.Generator, kind: str) -> Subject:
    """A cell that was written at random, of a kind, in a layer with few options."""
    tr.seed(int(rng.integers(2**31)))
    made, most = {"ranked": _ranked, "integers": _integers, "rows": _rows}[kind], int(rng.integers(3, 9))
    cell, template, more = made(rng, most)
    options = {name: True for name in ("batch_first", "reverse") if _maybe(rng, 0.15)}
    subject = Subject(nn.Recurrent(cell, **options), kind, options, template, **more)
    subject.needs = [subject.needs[0 if _maybe(rng, 0.7) else int(rng.integers(4))]]
    subject.all_states = False
    return subject


def _ranked(rng, most: int) -> tuple[Any, Any, dict[str, Any]]:
    cell = random_ranked_cell(rng, most, "float64" if _maybe(rng, 0.8) else "float32")
    return cell, np.zeros((1, *cell.row)), {}


def _integers(rng, most: int) -> tuple[Any, Any, dict[str, Any]]:
    cell = random_integer_cell(rng, most, int(rng.integers(1, 10)))
    return cell, {"f": np.zeros((1, cell.width)), "i": np.zeros((1, cell.width), "int64")}, {}


def _rows(rng, most: int) -> tuple[Any, Any, dict[str, Any]]:
    cell = random_cell(rng, most)
    more = {"differentiable": all(name != "detach" for name, *_ in cell.program), "rows_alike": not cell.constants}
    return cell, {f"x{i}": np.zeros((1, n)) for i, n in enumerate(cell.inputs)}, more
