"""The verifiers name what is broken in programs and adjoints, which are broken here by hand."""

import dataclasses

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.autodiff import adjoint as adjoint_module
from tinygrad_rnn.compiler.autodiff.adjoint import adjoint
from tinygrad_rnn.compiler.autodiff.reverse_step import MatrixProduct
from tinygrad_rnn.compiler.autodiff.verify import verify_adjoint
from tinygrad_rnn.compiler.frontend.trace import Trace, recording
from tinygrad_rnn.compiler.ir import verify
from tinygrad_rnn.compiler.ir.program import wanted_invariants
from tinygrad_rnn.compiler.ir.program_ops import MATMUL, SLICE
from tinygrad_rnn.compiler.ir.verify import verify_program
from tinygrad_rnn.recurrent.explain import explain
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from .verified import B, T, program_of, refused, value


def narrower(program):
    value(program, "tanh").shape = (verify.BATCH, 3)


def of_another_dtype(program):
    value(program, "tanh").dtype = np.dtype(np.float64)


def mask_operand(program):
    mask = value(program, "greater")
    product = next(s for s in program.expressions.values() if s.operation == "multiply" and s.uid > mask.uid)
    product.args = (mask, *product.args[1:])


def constant(program):
    value(program, "tanh").varying = False


def cycle(program):
    (h,), first = program.new_states, program.outputs[0]
    while first.varying_operands and first.varying_operands[0].leaf is None:
        first = first.varying_operands[0]
    first.args = (h, *first.args[1:])


def foreign_operand(program):
    trace = Trace(program.dtype)
    value(program, "tanh").args = (trace.leaf("input", 0, value(program, "tanh").shape, program.dtype, True),)


def matrix_of_other_rows(program):
    product = next(s for s in program.expressions.values() if s.op is MATMUL)
    product.args[1].shape = (9, product.shape[1])


def number_too_high(program):
    value(program, "tanh").uid = program.limit + 3


def wrong_arity(program):
    value(program, "multiply").args = value(program, "multiply").args[:1]


BROKEN = {
    narrower: "its operands make it float32",
    of_another_dtype: "wanted float32 or bool",
    mask_operand: "wanted numbers as operand 0, got bool",
    constant: "wanted a value that varies in time",
    cycle: "which is defined after it",
    foreign_operand: "does not hold",
    matrix_of_other_rows: "as many rows of its matrix|its operands make it",
    number_too_high: "got a number from",
    wrong_arity: "lowering",
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("how", BROKEN, ids=lambda how: how.__name__)
def test_a_broken_program_is_refused(how, monkeypatch):
    monkeypatch.setattr(verify, "_check_key", lambda *args: None)
    program = program_of("odd")
    verify_program(program)
    how(program)
    with refused(f"^trace: .*({BROKEN[how]})"):
        verify_program(program)


@pytest.mark.parametrize("how", [narrower, foreign_operand, wrong_arity], ids=lambda how: how.__name__)
def test_a_value_stands_under_its_key(how):
    program = program_of("gru")
    how(program)
    with refused("^trace: v.*one value for equal expressions"):
        verify_program(program)


def test_faults_name_the_value_and_the_line():
    program = program_of("lstm")
    s = value(program, "tanh")
    s.dtype = np.dtype(bool)
    with refused(rf"{s.name} = tanh\(.*lstm\.py:\d+.*fault of the compiler"):
        verify_program(program)


def test_results_are_checked():
    program = program_of("lstm")
    (x,), h = program.inputs, program.states[0]
    for change, match in [
        ({"outputs": (x.args or next(iter(program.captured.values())).symbol,)}, "output 0"),
        ({"new_states": (program.new_states[0],)}, "wanted 2"),
        ({"new_states": (x, program.new_states[1])}, "new state 0"),
        ({"inputs": (h,)}, "input 0"),
        ({"states": program.states[::-1]}, "state 0"),
        ({"mask_probabilities": (0.5,)}, "random mask"),
        ({"captured": {}}, "does not hold"),
        ({"expressions": {}}, "does not hold"),
        ({"limit": 3}, "got a number from 3 on"),
    ]:
        with refused(match):
            verify_program(dataclasses.replace(program, **change))


def test_slices_are_of_columns_that_are_there(monkeypatch):
    monkeypatch.setattr(verify, "_check_key", lambda *args: None)

    class Sliced(nn.Cell):
        def initial_state(self, batch_size):
            return tr.zeros((batch_size, 2))

        def step(self, x, h):
            return x[:, :2] + h, h

    cell = Sliced()
    explain(cell, tr.zeros((T, B, 5)))
    ((program,),) = cache_of(cell).programs.values()
    s = next(s for s in program.traced.expressions.values() if s.op is SLICE)
    s.static["stop"] = 400
    with refused("columns within the 5"):
        verify_program(program.traced)


# ---- adjoints


def adjoint_of(name, monkeypatch):
    """An adjoint, and how it is verified."""
    found = {}
    monkeypatch.setattr(adjoint_module, "verify_adjoint", lambda *args: found.update(args=args))
    program = program_of(name)
    with recording(Trace.extending(program)) as trace:
        t = program
        adj = adjoint(
            trace, t.outputs, t.new_states, t.inputs, t.states, (True,), wanted_invariants(t, set(t.invariants))
        )
    return adj, lambda broken: verify_adjoint(found["args"][0], broken, *found["args"][2:])


def test_broken_adjoints_are_refused(monkeypatch):
    adj, check = adjoint_of("rnn", monkeypatch)
    check(adj)
    p, r = next(p for p in adj.products if p.a.width == 3), adj.reductions[0]
    for broken, match in [
        (adj._replace(states=[]), "wanted those of"),
        (adj._replace(inputs=[None]), "wanted those of"),
        (adj._replace(inputs=adj.states), "the gradient of"),
        (adj._replace(products=[p._replace(a=p.g)]), "is the product of"),
        (adj._replace(products=[p._replace(w=p.a)]), "not asked for"),
        (adj._replace(reductions=[r._replace(g=p.a)]), "wanted 4 features"),
        (adj._replace(products=[MatrixProduct(r.v, p.a, p.g)]), "is the product of"),
    ]:
        with refused(f"^adjoint: .*{match}"):
            check(broken)


def test_one_cotangent_for_each_result(monkeypatch):
    adj, check = adjoint_of("rnn", monkeypatch)
    seed = next(
        s
        for s in verify.reachable([p.g for p in adj.products], lambda s: s.operands)
        if s.leaf and s.leaf[0] == "cotangent"
    )
    seed.leaf = ("cotangent", 7)
    with refused("no cotangent of a result"):
        check(adj)
