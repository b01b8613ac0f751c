"""Interpreter of graphs on the operations' own NumPy functions: the twin of all exports."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .graph import Constant, Fill, Graph, Node, Parameter, Range, Scan, Step, Value
from .sizes import at

Values = dict[int, Any]  # arrays by the ids of values


def evaluate(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs of a graph.

    Parameters
    ----------
    inputs : arrays
        Of the dtypes of `graph.inputs`, with any sizes.
    """
    sizes = graph.sizes_of(inputs)
    values: Values = {id(v): a for v, a in zip(graph.inputs, inputs)}
    values |= {id(v): given_array(v, sizes) for v in graph.values() if id(v) not in values}
    run_nodes(graph.nodes, values, sizes)
    return [values[id(v)] for v in graph.outputs]


def given_array(value: Value, sizes: Mapping[str, int]) -> np.ndarray:
    """The array of a parameter or a constant."""
    shape = at(value.shape, sizes)
    if isinstance(value, Parameter | Constant):
        return value.array
    if isinstance(value, Fill):
        return np.full(shape, at(value.value, sizes), value.dtype)
    assert isinstance(value, Range)
    line = np.arange(shape[value.axis]) * at(value.step, sizes) + at(value.start, sizes)
    line = line.astype(value.dtype).reshape([-1 if i == value.axis else 1 for i in range(len(shape))])
    return np.broadcast_to(line, shape)


def run_nodes(nodes: Sequence[Node], values: Values, sizes: Mapping[str, int]) -> None:
    """Add the results of operations to `values`, which come operands first."""
    for node in nodes:
        if isinstance(node, Scan):
            found: Any = _scan(node, values, sizes)
        elif isinstance(node, Step):
            local = values | {key: values[id(v)] for key, v in node.replaced.items()}
            run_nodes(node.scan.body, local, sizes)
            found = tuple(local[id(v)] for v in (*node.scan.step_outputs, *node.scan.new_states))
        else:
            args = [values[id(a)] if isinstance(a, Value) else at(a, sizes) for a in node.args]
            assert node.op.forward is not None
            found = node.op.forward(*args, **at(node.static, sizes))
        for result, array in zip(node.results, found if isinstance(found, tuple) else (found,)):
            values[id(result)] = np.asarray(array)


def _scan(scan: Scan, values: Values, sizes: Mapping[str, int]) -> tuple[np.ndarray, ...]:
    """Outputs and final states of a loop; rows whose step does not count take it in vain."""
    major = lambda a: a.swapaxes(0, 1) if scan.batch_first else a
    xs = [major(values[id(v)]) for v in scan.inputs]
    time, batch = xs[0].shape[:2]
    steps = {name: values[id(v)] for name, v in scan.steps.items()}
    valid = np.ones((time, batch), bool)
    if "lengths" in steps:
        valid &= np.arange(time)[:, None] < steps["lengths"]
    within = valid
    if "mask" in steps:
        valid = valid & major(steps["mask"])
    resets = within & major(steps["resets"]) if "resets" in steps else None
    states = [values[id(v)] for v in scan.states]
    renewed = [values[id(v)] for v in scan.reset_states or scan.states]
    outputs: list[list] = [[None] * time for _ in scan.step_outputs]
    local = dict(values)
    for t in reversed(range(time)) if scan.reverse else range(time):
        # a cut before step t is, backwards, one before step t - 1
        cut = t + 1 if scan.reverse else t
        if resets is not None and cut < time:
            states = [np.where(_rows(resets[cut], s), r, s) for r, s in zip(renewed, states)]
        local |= {id(v): x[t] for v, x in zip(scan.step_inputs, xs)}
        local |= {id(v): s for v, s in zip(scan.step_states, states)}
        with np.errstate(all="ignore"):
            run_nodes(scan.body, local, sizes)
        keep = functools.partial(_kept, valid[t])
        for ys, v in zip(outputs, scan.step_outputs):
            ys[t] = keep(local[id(v)], np.zeros_like(local[id(v)]))
        states = [keep(local[id(v)], s) for v, s in zip(scan.new_states, states)]
    return (*(major(np.stack(ys)) for ys in outputs), *states)


def _kept(valid: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return new if valid.all() else np.where(_rows(valid, new), new, old)


def _rows(condition: np.ndarray, like: np.ndarray) -> np.ndarray:
    return condition.reshape(-1, *(1,) * (like.ndim - 1))
