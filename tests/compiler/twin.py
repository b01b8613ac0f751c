"""A naive twin of the generated loops: the program and its adjoint, interpreted step by step in plain NumPy.

It needs no compiler, so that thousands of programs can hold trace, normal form and adjoint against the tape.
"""

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import compiler
from tinygrad_rnn.compiler.autodiff.adjoint import adjoint
from tinygrad_rnn.compiler.frontend.trace import Trace, recording
from tinygrad_rnn.recurrent.cell import check_state
from tinygrad_rnn.recurrent.scan.arguments import Arguments, check_inputs
from tinygrad_rnn.recurrent.scan.compiled import program_of

from .agreement import leaves_of, weights_for


def program(cell, xs, state):
    """The cell's traced program, its adjoint, and the tensors that it reads."""
    inputs, structure = check_inputs(cell, xs)
    batch = inputs[0].shape[1]
    states, state_structure = check_state(cell, state, batch)
    cell.begin_sequence(batch)
    found, tensors = program_of(cell, Arguments(inputs, structure, states, state_structure), "compiled")
    t = found.traced
    wanted = {s.uid for s, tensor in zip(found.bases, tensors) if tensor.requires_grad}
    reverse = compiler.Plan(t, (True,) * len(inputs), wanted)
    with recording(Trace.extending(t)) as trace:
        adj = adjoint(trace, t.outputs, t.new_states, t.inputs, t.states, reverse.wanted_inputs, reverse.wanted)
    return found, tensors, adj


def values_at(found, bases, arrays, states):
    leaves = [*zip(found.traced.inputs, arrays), *zip(found.traced.states, states)]
    return dict(bases) | {s.uid: tr.Tensor(in_rows(a, s)) for s, a in leaves}


def in_rows(array, s):
    """Values of any rank as the rows of features that the program holds, integers as floats."""
    return array.reshape(len(array), *s.shape[1:]).astype(s.dtype, copy=False)


def run_twin(cell, xs, state, seed=0):
    """What `agreement.run` gives, by way of the program and its adjoint."""
    tr.seed(seed)
    found, tensors, adj = program(cell, xs, state)
    t = found.traced
    inputs, states = leaves_of(xs), [s.data for s in leaves_of(state)]
    bases = {s.uid: tr.Tensor(tensor.data) for s, tensor in zip(found.bases, tensors)}
    outputs, trail = [], []
    for i in range(inputs[0].shape[0]):
        values = values_at(found, bases, [x.data[i] for x in inputs], states)
        results = [r.data for r in compiler.evaluate(t.outputs + t.new_states, values, inputs[0].shape[1])]
        trail.append(values)
        outputs.append(results[: len(t.outputs)])
        states = results[len(t.outputs) :]
    outputs = [np.stack(column) for column in zip(*outputs)]
    outputs, checks = outputs[: t.visible], outputs[t.visible :]
    results = [y.reshape(*y.shape[:2], *shape) for y, shape in zip(outputs, t.shapes.outputs)]
    results += [s.reshape(len(s), *shape) for s, shape in zip(states, t.shapes.states)]
    weights = weights_for([tr.Tensor(r) for r in results])
    carries = [in_rows(w, s) for w, s in zip(weights[t.visible :], t.states)]
    weights = weights[: t.visible] + [np.zeros_like(y) for y in checks]
    seeds = [[in_rows(w, y) for w in over_time] for over_time, y in zip(weights, t.outputs)]
    input_grads = [np.zeros(x.shape, x.dtype) for x in inputs]
    grads: dict = {}

    def collect(v, g):
        grads[v.uid] = (v, grads.get(v.uid, (v, 0.0))[1] + g)

    asked = [*adj.states, *adj.inputs, *(p.g for p in adj.products), *(r.g for r in adj.reductions)]
    asked += [s for p in adj.scatters for s in (p.rows, p.g)]
    for i in reversed(range(len(trail))):
        values = trail[i]
        for s in compiler.leaves(asked):
            kind, index = s.leaf
            if kind in ("cotangent", "carry"):
                values[s.uid] = tr.Tensor(seeds[index][i] if kind == "cotangent" else carries[index])
        compiler.evaluate(asked, values, inputs[0].shape[1])
        for p in adj.products:
            a = compiler.evaluate([p.a], values, inputs[0].shape[1])[0].data
            collect(p.w, a.T @ values[p.g.uid].data)
        for p in adj.scatters:
            found_index, g = (values[s.uid].data for s in (p.rows, p.g))
            rows, parts = found_index.astype(int).ravel(), g.reshape(-1, p.table.shape[1])
            total = np.zeros(p.table.shape, g.dtype)
            np.add.at(total, rows, np.where(rows[:, None] == p.padding, 0, parts))
            collect(p.table, total)
        for r in adj.reductions:
            shape = tuple(len(values[r.g.uid].data) if n is compiler.BATCH else n for n in r.v.shape)
            collect(r.v, unbroadcast(values[r.g.uid].data, shape))
        for x, g in zip(input_grads, adj.inputs):
            x[i] = values[g.uid].data.reshape(x[i].shape)
        carries = [values[g.uid].data for g in adj.states]
    # through transposes, slices and what is computed before the loop, on the tape
    sources = {uid: source.get() for uid, source in found.sources}
    values, total = dict(sources), 0.0
    for v, g in grads.values():
        (tensor,) = compiler.evaluate([v], values)
        total = total + (tensor * g).sum()
    constants = [v for m in cell.modules() for v in vars(m).values() if isinstance(v, tr.Tensor) and v.requires_grad]
    found_grads = tr.grad(total, constants, allow_unused=True) if grads else [None] * len(constants)
    carries = [g.reshape(len(g), *shape) for g, shape in zip(carries, t.shapes.states)]
    return results, [*input_grads, *carries, *(None if g is None else g.numpy() for g in found_grads)]


def unbroadcast(g, shape):
    g = g.sum(axis=tuple(range(g.ndim - len(shape))))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] > 1)
    return g.sum(axis=axes, keepdims=True) if axes else g
