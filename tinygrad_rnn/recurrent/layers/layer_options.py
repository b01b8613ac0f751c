"""Keyword options of RNN, LSTM and GRU: names, types, defaults, and the wrappers that they ask for."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from ...checks import flag, probability
from ...core import tree
from ..cell import Cell
from ..cells.base import Init
from ..scan.driver import check_every, check_mode
from .cell_wrapper import LearnedInitialState
from .regularisers import VariationalDropout, WeightDrop, Zoneout
from .wrappers import check_merge

F = TypeVar("F", bound=Callable)


class LayerOptions(TypedDict, total=False):
    """Options that every multilayer network takes by keyword; :class:`RNNBase` says what they do.

    Checkers and editors read them here, behind ``**options: Unpack[LayerOptions]`` (PEP 692).
    """

    mode: str
    dtype: Any
    init: Init
    merge: str
    reverse: bool
    checkpoint_every: int | None
    learn_initial_state: bool
    input_dropout: float
    recurrent_dropout: float
    weight_dropout: float
    zoneout: Any


DEFAULTS: LayerOptions = {
    "mode": "auto",
    "dtype": None,
    "init": "default",
    "merge": "concat",
    "reverse": False,
    "checkpoint_every": None,
    "learn_initial_state": False,
    "input_dropout": 0.0,
    "recurrent_dropout": 0.0,
    "weight_dropout": 0.0,
    "zoneout": 0.0,
}


def lists_options(init: F) -> F:
    """Let ``help`` and ``inspect.signature`` list the options instead of ``**options``; a decorator."""
    signature = inspect.signature(init)
    named = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    for name, default in DEFAULTS.items():
        kind = LayerOptions.__annotations__[name].__forward_arg__
        named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind))
    init.__signature__ = signature.replace(parameters=named)  # type: ignore[attr-defined]
    return init


def checked_options(layer: type, given: LayerOptions) -> LayerOptions:
    """All options of a layer, checked; those that are not given have their defaults."""
    name = layer.__name__
    for unknown in given:
        if unknown not in DEFAULTS:
            known = [n for n in inspect.signature(layer).parameters if n not in ("input_size", "hidden_size")]
            raise TypeError(f"{name}: got an unknown option, {unknown}, wanted some of {', '.join(known)}")
    options: LayerOptions = {**DEFAULTS, **given}
    check_mode(options["mode"])
    check_merge(options["merge"])
    options["reverse"] = flag(f"{name}: reverse", options["reverse"])
    options["checkpoint_every"] = check_every(options["checkpoint_every"], name)
    options["learn_initial_state"] = flag(f"{name}: learn_initial_state", options["learn_initial_state"])
    options["input_dropout"] = probability(f"{name}: input_dropout", options["input_dropout"])
    options["recurrent_dropout"] = probability(f"{name}: recurrent_dropout", options["recurrent_dropout"])
    options["weight_dropout"] = probability(f"{name}: weight_dropout", options["weight_dropout"])
    zones = [probability(f"{name}: zoneout", p) for p in tree.flatten(options["zoneout"])[0]]
    if not any(zones):
        options["zoneout"] = 0.0
    return options


def wrapped(cell: Cell, options: LayerOptions) -> Cell:
    """`cell` inside those wrappers that the options ask for."""
    if options["weight_dropout"]:
        cell = WeightDrop(cell, options["weight_dropout"])
    if options["input_dropout"] or options["recurrent_dropout"]:
        cell = VariationalDropout(cell, options["input_dropout"], options["recurrent_dropout"])
    if options["zoneout"]:
        cell = Zoneout(cell, options["zoneout"])
    if options["learn_initial_state"]:
        cell = LearnedInitialState(cell)
    return cell


def in_words(options: LayerOptions) -> str:
    """The options that are not the default, as ``repr`` shows them: ``", zoneout=0.1"``."""
    left_out = ("mode", "dtype", "init", "reverse")
    return "".join(f", {n}={v!r}" for n, v in options.items() if n not in left_out and v != DEFAULTS.get(n))
