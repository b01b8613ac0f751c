"""Reports on compiled functions and training steps: what runs, as what, and what that costs."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import nn, optim
from tinygrad_rnn.train import TrainStep


def numbers(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_a_function_is_a_native_call_forward_and_one_backward():
    head = nn.Linear(3, 2)
    report = tr.compile(lambda x: tr.tanh(head(x))).explain(numbers(4, 3))
    assert report.compiled
    assert report.native
    assert not report.why
    forward, backward = report.parts
    assert [p.title for p in report.parts] == ["forward", "backward"]
    (group,) = forward.groups
    assert (group.matrix_flops, group.other_flops) == (2 * 4 * 3 * 2, 8 + 8)
    assert group.moved_bytes == 4 * (12 + 6 + 2 + 8)
    assert report.saved_bytes == 4 * 8  # tanh reads its result
    assert backward.matrix_flops == 2 * 4 * 3 * 2  # of the weight
    assert report.flops == forward.flops + backward.flops
    assert report.moved_bytes == forward.moved_bytes + backward.moved_bytes
    assert 0 < forward.peak_bytes <= forward.arena_bytes
    text = str(report)
    assert "forward: one native call\n  loop over 4 rows (matmul, add, tanh): 64 FLOPs (48 in products)" in text
    assert re.search(r"  memory +[\d,]+ bytes of arena, backward; [\d,]+ at once", text)
    assert re.search(r"  saved +32 bytes for the backward pass", text)


def test_without_gradients_there_is_a_forward_pass_alone():
    report = tr.compile(lambda x: x * 2.0 + 1.0).explain(numbers(4, 3))
    assert [p.title for p in report.parts] == ["forward"]
    assert report.saved_bytes == 0
    assert "backward" not in str(report)


def test_what_runs_in_python_is_named_with_its_place():
    report = tr.compile(lambda x: tr.sort(tr.tanh(x), 0)).explain(tr.tensor(numbers(4, 3), requires_grad=True))
    assert report.compiled
    assert not report.native
    for part in report.parts:
        assert re.fullmatch(r"in Python between native calls: \w+ \(.*test_explain.py:\d+\).*", part.why)
        assert any(g.why.startswith("in Python") for g in part.groups)
    assert report.why.startswith("forward: in Python between native calls: argsort")
    assert "forward: not one native call: in Python between" in str(report)


def test_floats_of_two_dtypes_run_on_numpy():
    report = tr.compile(lambda x: tr.tanh(x).astype("float64") * 2.0).explain(numbers(4, 3))
    assert not report.native
    assert "wanted one dtype" in report.why
    assert report.parts[0].arena_bytes == 0
    assert all(g.why == "on NumPy" for g in report.parts[0].groups)


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 1.0}, {"clip_value": 0.5}])
def test_a_training_step_is_one_native_call(clip):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    step = TrainStep(model, optim.Adam(model.parameters()), nn.mse_loss, **clip)
    report = step.explain(numbers(5, 3), numbers(5, 1))
    assert report.native
    (part,) = report.parts
    assert part.title == "step"
    assert part.groups[-1].text == "update by Adam of 21 numbers"
    assert ("clipping" in str(report)) == bool(clip)
    assert part.matrix_flops == 2 * 5 * (12 + 4 + 4 + 12 + 4)  # forward, and the gradients but for that of the inputs


def test_the_loops_of_layers_are_reported_as_the_layers_do():
    layer = nn.GRU(3, 4)
    report = tr.compile(lambda x: layer(x)[0]).explain(numbers(6, 2, 3))
    (loop,) = report.loops
    step = layer.explain((6, 2)).cells[0].step
    assert loop.saved_total == step.saved_total
    (group,) = [g for g in report.parts[0].groups if "GRUCell over T=6, B=2" in g.text]
    assert group.flops == step.forward.flops * 12
    assert report.saved_bytes >= step.saved_total


def test_updates_in_python_are_said():
    class Own(optim.SGD):
        def step(self, **how):
            super().step(**how)

    model = nn.Linear(3, 1)
    report = TrainStep(model, Own(model.parameters()), nn.mse_loss).explain(numbers(5, 3), numbers(5, 1))
    assert report.compiled
    assert not report.native
    assert report.why == "step: Own updates in Python"


def test_what_is_not_compiled_has_no_parts():
    report = tr.compile(lambda x: x * float(x.sum())).explain(tr.tensor(numbers(3)))
    assert not report.compiled
    assert not report.native
    assert report.parts == ()
    assert "float()" in str(report)


def test_a_compiled_function_in_a_notebook():
    def scaled(x, factor):
        return x * float(x.sum()) if factor > 2 else x * factor

    fast = tr.compile(scaled)
    assert fast._repr_html_().startswith("<p><b>compile(test_a_compiled_function_in_a_notebook.&lt;locals&gt;.scaled)")
    assert "0 programs" in fast._repr_html_()
    fast(tr.tensor(numbers(3)), 1)
    assert "1 program for" in fast._repr_html_()
    with pytest.warns(RuntimeWarning, match="runs on the tape"):
        fast(tr.tensor(numbers(3)), 3)
    assert "1 program for" in fast._repr_html_()
    assert "<li>on the tape: float() of a tensor at" in fast._repr_html_()
