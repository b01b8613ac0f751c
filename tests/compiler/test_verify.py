"""Whatever is right passes the verifiers, and a fault ends a call, whatever the mode."""

import os
import subprocess
import sys

import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn
from tinygrad_rnn.compiler.frontend.trace import Trace
from tinygrad_rnn.compiler.ir import verify
from tinygrad_rnn.compiler.ir.verify import verify_program
from tinygrad_rnn.compiler.runtime import bind_backward
from tinygrad_rnn.compiler.schedule.verify import verify_plan, verify_schedule

from ..golden import CELLS
from .verified import B, T, plan_of, refused


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", CELLS)
def test_programs_that_are_right_pass(name):
    plan = plan_of(name)
    verify_program(plan.traced)
    verify_plan(plan)
    verify_schedule(plan.inference()[0])


@pytest.mark.parametrize("mode", ["auto", "compiled"])
def test_a_fault_is_no_reason_to_run_eagerly(mode, monkeypatch):
    freeze = Trace.freeze

    def broken(self, inputs, states, outputs, new_states, shapes):
        return freeze(self, inputs, states, outputs, states[:0], shapes)

    monkeypatch.setattr(Trace, "freeze", broken)
    with refused("got 0 new states"):
        nn.Recurrent(nn.RNNCell(3, 4), mode=mode)(tr.zeros((T, B, 3)))


def test_without_the_flag_nothing_is_verified(monkeypatch):
    monkeypatch.setattr(verify, "enabled", False)
    for name in ("verify_program", "verify_values"):
        monkeypatch.setattr(verify, name, None)
    monkeypatch.setattr("tinygrad_rnn.compiler.autodiff.adjoint.verify_adjoint", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.schedule.plan.verify_plan", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.schedule.plan.verify_schedule", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.codegen.layout.verify_source", None)
    monkeypatch.setattr("tinygrad_rnn.compiler.codegen.layout.verify_bound", None)
    monkeypatch.setattr(bind_backward, "verify_epilogue", None)
    nn.RNN(3, 4)(tr.zeros((T, B, 3)))[0].sum().backward()


@pytest.mark.sampled(6)
@pytest.mark.parametrize(("flag", "wanted"), [(None, "False"), ("", "False"), ("0", "False"), ("1", "True")])
def test_the_flag(flag, wanted):
    env = {k: v for k, v in os.environ.items() if k != "TINYGRAD_RNN_VERIFY"}
    env |= {} if flag is None else {"TINYGRAD_RNN_VERIFY": flag}
    code = "from tinygrad_rnn.compiler.ir import verify; print(verify.enabled)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == wanted
    assert verify.enabled
