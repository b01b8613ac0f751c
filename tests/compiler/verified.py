"""What tests of the verifiers break: programs and plans of their own."""

import pytest

from tinygrad_rnn.compiler import Plan
from tinygrad_rnn.compiler.ir import verify
from tinygrad_rnn.errors import VerificationError
from tinygrad_rnn.recurrent.explain import explain
from tinygrad_rnn.recurrent.scan.call_cache import cache_of

from ..golden import CELLS

T, B = 5, 2


def program_of(name):
    """A program of its own, which may be broken."""
    cell = CELLS[name]()
    explain(cell)
    ((program,),) = cache_of(cell).programs.values()
    return program.traced


def plan_of(name):
    program = program_of(name)
    plan = Plan(program, (True,) * len(program.inputs), set(program.invariants))
    plan.differentiate()
    return plan


def value(program, operation):
    """A value of an operation that the results need."""
    return next(s for s in verify.reachable(program.results, lambda s: s.varying_operands) if s.operation == operation)


def refused(match):
    return pytest.raises(VerificationError, match=match)
