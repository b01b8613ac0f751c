"""The one table of cells: tests and benchmarks run over its rows. To cover a new cell, add a row.

`CELLS` has the built-in cells with their options and cells as users write them (:mod:`.module_cells`). `PAPER_CELLS`
(:mod:`.paper_cells`) has the equations of papers, as functions; `EQUATIONS` says which of them a built-in cell is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .. import nn
from . import module_cells
from .paper_cells import PAPER_CELLS
from .step_cells import StepCell


class CellRow(NamedTuple):
    """A cell.

    Attributes
    ----------
    name : str
    make : callable
        ``make(input_size, hidden_size, dtype)``; `dtype` may be None for the default.
    covers : str
        What it exercises that the others do not.
    states : int
        How many arrays its state has.
    inputs : callable, optional
        ``inputs(T, B, I, H)``: a shape, or a dict of shapes; default one sequence (T, B, I).
    compiled : bool
        Whether it is meant to compile.
    smooth : bool
        Whether differences show its gradients; those of spikes are a stand-in's.
    """

    name: str
    make: Callable[[int, int, Any], nn.Cell]
    covers: str
    states: int = 1
    inputs: Callable[[int, int, int, int], Any] | None = None
    compiled: bool = True
    smooth: bool = True

    def shapes(self, T: int, B: int, I: int, H: int) -> tuple[int, ...] | dict[str, tuple[int, ...]]:
        """The shapes of its inputs."""
        return (T, B, I) if self.inputs is None else self.inputs(T, B, I, H)


def cell_of(kind: Any, **options: Any) -> Callable[[int, int, Any], nn.Cell]:
    """How to make `kind` with these options."""
    return lambda i, h, dtype: kind(i, h, dtype=dtype, **options)


def with_heads(kind: Any) -> Callable[[int, int, Any], nn.Cell]:
    """How to make `kind` with two heads, each of the size that is asked for."""
    return lambda i, h, dtype: kind(i, 2 * h, heads=2, dtype=dtype)


CELLS = (
    CellRow("rnn-tanh", cell_of(nn.RNNCell), "one product, one activation"),
    CellRow("rnn-relu", cell_of(nn.RNNCell, nonlinearity="relu", init="torch"), "an activation with a corner"),
    CellRow("rnn-sigmoid-nobias", cell_of(nn.RNNCell, nonlinearity="sigmoid", bias=False), "no bias"),
    CellRow("lstm", cell_of(nn.LSTMCell), "gates, two states", 2),
    CellRow("lstm-nobias", cell_of(nn.LSTMCell, bias=False), "gates without a bias", 2),
    CellRow(
        "lstm-projected",
        lambda i, h, dtype: nn.LSTMCell(i, h + 1, proj_size=h, dtype=dtype),
        "states of different widths, a product after the gates",
        2,
    ),
    CellRow("gru", cell_of(nn.GRUCell), "a bias inside of a gate"),
    CellRow("gru-before", cell_of(nn.GRUCell, reset_after=False), "a product of what a gate has let through"),
    CellRow("gru-before-nobias", cell_of(nn.GRUCell, reset_after=False, bias=False), "the same without a bias"),
    CellRow("peephole-lstm", cell_of(nn.PeepholeLSTMCell), "recurrent vectors", 2),
    CellRow("cifg", cell_of(nn.CIFGCell), "coupled gates", 2),
    CellRow("mgu", cell_of(nn.MGUCell), "two products in a row"),
    CellRow("ugrnn", cell_of(nn.UGRNNCell), "one gate"),
    CellRow("fastgrnn", cell_of(nn.FastGRNNCell), "parameters that are numbers, one product for two gates"),
    CellRow("layernorm-lstm", cell_of(nn.LayerNormLSTMCell, eps=0.1), "reductions over the features", 2),
    CellRow("layernorm-gru-nobias", cell_of(nn.LayerNormGRUCell, eps=0.1, bias=False), "reductions, no bias"),
    CellRow("indrnn", cell_of(nn.IndRNNCell, max_steps=3, init="torch"), "no recurrent matrix, a corner"),
    CellRow("mingru", cell_of(nn.MinGRUCell), "a diagonal recurrence"),
    CellRow("minlstm", cell_of(nn.MinLSTMCell), "a diagonal recurrence with a quotient"),
    CellRow("lru", cell_of(nn.LRUCell), "complex states, an output that is not the state", 2),
    CellRow("slstm-heads", with_heads(nn.SLSTMCell), "a recurrent matrix for each head", 4),
    CellRow("mlstm-heads", with_heads(nn.MLSTMCell), "states of three ranks, a running maximum", 3),
    CellRow("linear-attention-heads", with_heads(nn.LinearAttentionCell), "outer products, and sums along axes", 2),
    CellRow("deltanet-heads", with_heads(nn.DeltaNetCell), "a matrix that is read and then written"),
    CellRow("gated-deltanet-heads", with_heads(nn.GatedDeltaNetCell), "the same with numbers for each head"),
    CellRow("s6", cell_of(nn.S6Cell, state_size=3), "a state of several numbers for each feature"),
    CellRow("lmu", cell_of(nn.LMUCell, memory_size=3, window=5.0), "buffers, numbers of a row beside features", 2),
    CellRow("cfc", cell_of(nn.CfCCell), "activations of a product of activations"),
    CellRow(
        "cfc-times",
        lambda i, h, dtype: module_cells.Timed(nn.CfCCell(i, h, dtype=dtype)),
        "a pair of an input and a time",
        inputs=lambda T, B, I, H: {"x": (T, B, I), "time": (T, B, 1)},
    ),
    CellRow("lif", cell_of(nn.LIFCell, slope=2.0), "a step with a stand-in's derivative", 3, smooth=False),
    CellRow(
        "conv-lstm",
        lambda i, h, dtype: nn.ConvLSTMCell(2 * i, 2 * h, length=2, dtype=dtype),
        "products at each place of an axis",
        2,
        inputs=lambda T, B, I, H: (T, B, 2 * I),
    ),
    CellRow(
        "conv1d",
        lambda i, h, dtype: nn.Conv1dCell(nn.Conv1d(i, h, 3, dtype=dtype)),
        "a state of earlier inputs, parts of a parameter along its last axis",
    ),
    CellRow(
        "stacked",
        lambda i, h, dtype: nn.Stacked([nn.LSTMCell(i, h, dtype=dtype), nn.GRUCell(h, h + 1, dtype=dtype)]),
        "cells within a cell, nested states",
        3,
    ),
    CellRow("own-mgu", cell_of(module_cells.MGU), "products of joined values, an output that is not the state"),
    CellRow("own-peephole", cell_of(module_cells.Peephole), "a dict as state, a pair as output", 2),
    CellRow("learned-start", cell_of(module_cells.LearnedStart), "an initial state that is a parameter"),
    CellRow("fast-weights", cell_of(module_cells.FastWeights), "a matrix as state"),
    CellRow("stateless", cell_of(module_cells.Stateless), "no state", 0),
    CellRow(
        "two-inputs",
        cell_of(module_cells.TwoInputs),
        "two sequences, one of matrices",
        inputs=lambda T, B, I, H: {"a": (T, B, I), "b": (T, B, 2, H)},
    ),
)
BY_NAME = {row.name: row for row in CELLS}


class Equations(NamedTuple):
    """Which equations a built-in cell computes, and where it keeps their weights.

    Attributes
    ----------
    step : StepCell
    places : dict
        Of each weight: the parameter, and which block of H of its rows, which rows, or None for all of it.
    """

    step: StepCell
    places: dict[str, tuple[str, int | slice | None]]

    def parts(self, cell: nn.Cell) -> dict[str, tuple[nn.Parameter, slice]]:
        """Of each weight: the parameter and its rows that hold it, transposed."""
        parameters, size = dict(cell.named_parameters()), cell.hidden_size or 1
        return {key: (parameters[name], _rows_of(block, size)) for key, (name, block) in self.places.items()}

    def weights(self, cell: nn.Cell) -> dict[str, np.ndarray]:
        """The weights of `cell` by their names in the equations."""
        return {key: parameter.numpy()[rows].T for key, (parameter, rows) in self.parts(cell).items()}

    def load(self, cell: nn.Cell, weights: dict[str, np.ndarray]) -> None:
        """Give `cell` the weights of the equations."""
        for key, (parameter, rows) in self.parts(cell).items():
            parameter.data[rows] = weights[key].T


def _rows_of(block: int | slice | None, size: int) -> slice:
    return slice(block * size, (block + 1) * size) if isinstance(block, int) else block or slice(None)


Places = dict[str, tuple[str, int | slice | None]]


def _equations(name: str, whole: dict[str, str], blocks: Places | None = None) -> Equations:
    """Of `whole`, each is a parameter as it is; of `blocks`, some rows of it."""
    return Equations(PAPER_CELLS[name], {key: (parameter, None) for key, parameter in whole.items()} | (blocks or {}))


_products = {"w": "weight_ih", "u": "weight_hh"}
_gates = _products | {"b": "bias"}
_two_biases = _products | {"b": "bias_ih", "b_h": "bias_hh"}
_norms = _gates | {"gain_x": "norm_ih.weight", "gain_h": "norm_hh.weight"}
_numbers = {"b_z": "bias_z", "b_n": "bias_n", "zeta": "zeta", "nu": "nu"}
_qkv: Places = {f"w_{name}": ("weight_ih", i) for i, name in enumerate("qkvo")}
_heads = {"w_g": "weight_gates", "b_g": "bias_gates"}
_lru = {"nu_log": "nu_log", "theta_log": "theta_log", "gamma_log": "gamma_log", "c": "weight_c", "d": "weight_d"}

EQUATIONS: dict[type[nn.Cell], Equations] = {
    nn.RNNCell: _equations("rnn", _two_biases),
    nn.LSTMCell: _equations("lstm", _two_biases),
    nn.GRUCell: _equations("gru", _two_biases),
    nn.PeepholeLSTMCell: _equations(
        "peephole_lstm", _gates, {f"p_{gate}": ("weight_c", i) for i, gate in enumerate("ifo")}
    ),
    nn.CIFGCell: _equations("coupled_lstm", _gates),
    nn.MGUCell: _equations(
        "mgu", {}, {f"{k}_{gate}": (name, i) for k, name in _gates.items() for i, gate in enumerate("fn")}
    ),
    nn.UGRNNCell: _equations("ugrnn", _gates),
    nn.FastGRNNCell: _equations("fastgrnn", _products | _numbers),
    nn.LayerNormLSTMCell: _equations("layernorm_lstm", _norms | {"gain_c": "norm_c.weight", "shift_c": "norm_c.bias"}),
    nn.LayerNormGRUCell: _equations(
        "layernorm_gru",
        _norms | {"gain_xn": "norm_in.weight", "gain_hn": "norm_hn.weight", "shift_hn": "norm_hn.bias"},
    ),
    nn.IndRNNCell: _equations("indrnn", _gates),
    nn.MinGRUCell: _equations("mingru", {"w": "weight_ih", "b": "bias"}),
    nn.MinLSTMCell: _equations("minlstm", {"w": "weight_ih", "b": "bias"}),
    nn.LRUCell: _equations("lru", _lru, {"b_re": ("weight_b", 0), "b_im": ("weight_b", 1)}),
    nn.SLSTMCell: _equations("slstm", _gates),
    nn.MLSTMCell: _equations("mlstm", _heads | {"b_o": "bias"}, _qkv),
    nn.LinearAttentionCell: _equations("linear_attention", {}, {k: _qkv[k] for k in ("w_q", "w_k", "w_v")}),
    nn.DeltaNetCell: _equations("deltanet", _heads, {k: _qkv[k] for k in ("w_q", "w_k", "w_v")}),
    nn.GatedDeltaNetCell: _equations(
        "gated_deltanet", _heads | {"a_log": "a_log"}, {k: _qkv[k] for k in ("w_q", "w_k", "w_v")}
    ),
    nn.LMUCell: _equations("lmu", _products | {"w_m": "weight_mh"} | {name: name for name in ("e_x", "e_h", "e_m")}),
    nn.CfCCell: _equations("cfc", _gates | {"w_z": "weight_z", "b_z": "bias_z"}),
    nn.LIFCell: _equations("lif", _products),
    nn.ConvLSTMCell: _equations("conv_lstm", _gates),
    nn.S6Cell: _equations(
        "s6",
        {"b_d": "bias", "a_log": "a_log", "d": "d"},
        {
            "w_u": ("weight_ih", 0),
            "w_d": ("weight_ih", 1),
            "w_b": ("weight_bc", slice(16)),
            "w_c": ("weight_bc", slice(16, 32)),
        },
    ),
}
