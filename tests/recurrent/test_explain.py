"""explain() tells what the compiler made of each cell, and why something does not compile."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tests.recurrent.sequences import draw
from tinygrad_rnn import compiler, nn
from tinygrad_rnn.errors import ShapeError
from tinygrad_rnn.recurrent.explain import explain
from tinygrad_rnn.testing.cell_table import CELLS
from tinygrad_rnn.testing.module_cells import Peephole


class Branching(nn.Cell):
    input_size = hidden_size = 4

    def step(self, x, h):
        return (x, h) if h.mean(axis=-1) > 0 else (h, x)


class Antisymmetric(nn.Cell):
    """A matrix that is computed from a parameter, and a reduction."""

    def __init__(self, input_size, hidden_size):
        self.input_size, self.hidden_size = input_size, hidden_size
        self.inner = nn.Linear(input_size, hidden_size)
        self.w = nn.Parameter(np.eye(hidden_size, dtype=np.float32))
        self.norm = nn.LayerNorm(hidden_size)

    def step(self, x, h):
        h = tr.tanh(self.norm(self.inner(x) + h @ (self.w - self.w.T)))
        return h, h


@pytest.mark.sampled(36)
@pytest.mark.parametrize("case", CELLS, ids=lambda c: c.name)
def test_every_cell_is_explained_before_it_runs(case):
    cell = case.make(3, 4, None)
    report = explain(cell, draw(case.shapes(7, 2, 3, 4), np.float32))
    text = str(report)
    assert report.compiled == (case.compiled)
    if not report.compiled:
        assert report.reasons[0] in text
        return
    step = report.cells[0].step
    for name, _ in cell.named_parameters():
        assert name in text
    for loop in step.loops:
        assert loop.path.read_text(encoding="utf-8") == loop.source
        assert f"def {loop.name}(" in text
        assert f"def {loop.name}_loop(" in text


def test_names_are_those_of_the_cell():
    step = explain(Peephole(3, 4)).cells[0].step
    assert step.leaves[:3] == ["x (T, B, 3): input0", "state['c'] (B, 4): state0", "state['h'] (B, 4): state1"]
    assert "weight.weight (16, 7): invariant0" in step.leaves
    assert [r.split(" = ")[0] for r in step.results] == [
        "output[0]",
        "output[1]",
        "next state['c']",
        "next state['h']",
    ]
    assert explain(nn.GRUCell(3, 4)).cells[0].step.leaves[1] == "h (B, 4): state0"


def test_the_program_computes_the_step(rng):
    """The listing is the step: run it as Python."""
    cell = nn.LSTMCell(3, 4, dtype="float64")
    step = explain(cell).cells[0].step
    x, h, c = (rng.standard_normal((2, n)) for n in (3, 4, 4))
    scope = {name: p.numpy() for name, p in cell.named_parameters()}
    scope |= {"x": x, "state": (h, c), "tanh": np.tanh, "sigmoid": lambda v: 1 / (1 + np.exp(-v))}
    for line in step.program:
        exec(line, scope)
    y, (h, c) = cell.step(tr.tensor(x), (tr.tensor(h), tr.tensor(c)))
    for result, wanted in zip(step.results, (y, h, c)):
        np.testing.assert_allclose(scope[result.split(" = ")[1]], wanted.numpy(), rtol=1e-12)


def test_the_adjoint_computes_the_gradients(rng):
    cell = nn.LSTMCell(3, 4, dtype="float64")
    x = tr.tensor(rng.standard_normal((1, 2, 3)), requires_grad=True)
    step = explain(cell, x).cells[0].step
    h, c = (tr.tensor(rng.standard_normal((2, 4)), requires_grad=True) for _ in range(2))
    gy, gh, gc = (rng.standard_normal((2, 4)) for _ in range(3))
    scope = {name: p.numpy() for name, p in cell.named_parameters()}
    scope |= {"x": x.numpy()[0], "state": (h.numpy(), c.numpy()), "tanh": np.tanh}
    scope["sigmoid"] = lambda v: 1 / (1 + np.exp(-v))
    given = {"grad(output)": gy, "grad(next state[0])": gh, "grad(next state[1])": gc}
    found = {}
    for line in [*step.program, *step.adjoint]:
        for i, name in enumerate(given):
            line = line.replace(name, f"given[{i}]")
        match = re.match(r"(grad\(.*\)) = (\w+)", line)
        if match:
            found[match[1]] = scope[match[2]]
        else:
            exec(line, scope | {"given": list(given.values())}, scope)
    y, (h2, c2) = cell.step(x[0], (h, c))
    wanted = tr.grad([y, h2, c2], [x, h, c], [tr.tensor(g) for g in (gy, gh, gc)])
    for name, g in zip(("grad(x)", "grad(state[0])", "grad(state[1])"), wanted):
        np.testing.assert_allclose(found[name], g.numpy().reshape(found[name].shape), rtol=1e-10)


def test_costs_of_an_lstm():
    T, B, I, H = 7, 3, 5, 8
    step = nn.LSTM(I, H).explain((T, B)).cells[0].step
    assert step.forward.matrix_flops == step.inference.matrix_flops == 2 * (I + H) * 4 * H
    assert step.forward.other_flops == 9 * H  # five activations, four more operations
    assert step.backward.matrix_flops == 2 * H * 4 * H  # the inputs need no gradients
    assert step.after_flops == 2 * (I + H) * 4 * H
    assert step.after_sums == 4 * H
    assert step.saved_bytes == 5 * H * 4  # four gates and c; h is a result
    assert {s.name for s in step.saved if s.bytes == 0} == {"state[0]"}
    assert step.saved_total >= T * B * step.saved_bytes
    assert f"for T={T}, B={B}" in str(step)


@pytest.mark.parametrize("make", [lambda: nn.LSTMCell(5, 8), lambda: Antisymmetric(5, 8), lambda: nn.GRUCell(5, 8)])
def test_memory_is_what_the_arrays_take(make, monkeypatch):
    """Saved bytes and buffers, against the arena that a training step allocates."""
    cell, contexts = make(), []
    forward = compiler.Executable.forward

    def watch(self, *args, **kwargs):
        result = forward(self, *args, **kwargs)
        contexts.append(result[2])
        return result

    monkeypatch.setattr(compiler.Executable, "forward", watch)
    x = np.zeros((9, 3, 5), np.float32)
    nn.Recurrent(cell)(x)
    step = explain(cell, x).cells[0].step
    arena = contexts[0].arrays[0].nbytes
    assert step.saved_total < arena
    results = 10 * 3 * 16 * 4  # the states, padded to whole panels of some width
    assert step.forward.workspace <= arena + 4 * results
    assert arena <= step.forward.workspace + 128 * (2 + len(step.forward.buffers))  # and what lies between buffers


def test_the_files_are_those_that_run():
    layer = nn.Recurrent(nn.GRUCell(3, 4))
    step = layer.explain().cells[0].step
    y, _ = layer(np.ones((5, 2, 3), np.float32))
    y.sum().backward()
    again = layer.explain().cells[0].step
    assert [loop.path for loop in again.loops] == [loop.path for loop in step.loops]
    assert again.executable is step.executable
    forward, reverse, _ = again.executable.training
    assert (forward.path, reverse.path) == (again.forward.path, again.backward.path)


def test_what_depends_on_parameters_alone_is_computed_before_the_loop():
    report = explain(Antisymmetric(3, 4))
    step = report.cells[0].step
    (line,) = step.prologue
    assert all(f"  {shown}\n" in str(report) for shown in step.prologue + step.after)
    assert "w - w.T" in line
    name = line.split()[0]
    assert any(f"h @ {name}" in s for s in step.program)
    assert any(s.startswith(f"grad({name}) +=") for s in step.after)
    assert not explain(nn.GRUCell(3, 4)).cells[0].step.prologue


def test_recomputed_values_are_not_saved():
    step = explain(Antisymmetric(3, 4)).cells[0].step
    assert step.recomputed
    assert not {s.name for s in step.saved} & {line.split()[0] for line in step.recomputed}


def test_gates_are_one_product():
    step = explain(nn.LSTMCell(3, 4)).cells[0].step
    (product,) = [line for line in step.forward.schedule if "product" in line]
    assert "= x @ weight_ih.T + state[0] @ weight_hh.T + bias_ih + bias_hh ->" in product
    assert product.count(" | ") == 3


def test_layers_and_directions():
    layer = nn.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    report = layer.explain(np.zeros((2, 9, 3), np.float32))
    assert [c.where for c in report.cells] == ["layer 0", "layer 0, reverse", "layer 1", "layer 1, reverse"]
    first, second = report.cells[0].step, report.cells[2].step
    assert first.size == second.size == (9, 2)
    assert not any("grad(x)" in line for line in first.after)
    assert any("grad(x)" in line for line in second.after)
    assert str(report).count("def inference(") == 1  # one program for all sizes


def test_bidirectional_and_reverse():
    report = nn.Bidirectional(nn.GRUCell(3, 4), nn.RNNCell(3, 4)).explain((5, 2))
    assert [(c.where, type(c.cell).__name__) for c in report.cells] == [
        ("forwards", "GRUCell"),
        ("backwards", "RNNCell"),
    ]
    assert nn.Recurrent(nn.RNNCell(3, 4), reverse=True).explain().cells[0].where == "reverse"


def test_frozen_cells_have_no_backward_loop():
    cell = nn.GRUCell(3, 4)
    cell.requires_grad_(False)
    step = explain(cell).cells[0].step
    assert step.backward is None
    assert step.loops == [step.inference]
    assert "no gradient is wanted" in str(step)
    wanting = tr.zeros((5, 2, 3)).requires_grad_()
    assert explain(cell, wanting).cells[0].step.after[0].startswith("grad(x) =")


@pytest.mark.parametrize("mode", ["auto", "compiled", "eager"])
def test_what_does_not_compile_is_told_and_not_raised(mode):
    report = nn.Recurrent(Branching(), mode=mode).explain()
    assert not report.compiled
    assert report.cells[0].step is None
    line = Branching.step.__code__.co_firstlineno + 1
    assert f"{__file__}:{line}" in report.reasons[0]
    assert "tr.where" in report.reasons[0]
    assert f"does not compile: {report.reasons[0]}" in str(report)


def test_the_warning_still_comes_after_explaining():
    layer = nn.Recurrent(Branching())
    layer.explain()
    x = np.zeros((2, 1, 4), np.float32)
    with pytest.warns(RuntimeWarning, match="Branching runs eagerly"):
        layer(x)
    layer(x)  # once is enough: warnings are errors here


def test_explaining_changes_nothing(rng):
    """Neither the random numbers nor the results."""
    layer = nn.LSTM(3, 4, num_layers=2, dropout=0.5)
    x = rng.standard_normal((5, 2, 3)).astype(np.float32)
    tr.seed(3)
    y = layer(x)[0].numpy()
    tr.seed(3)
    layer.explain()
    np.testing.assert_array_equal(layer(x)[0].numpy(), y)


def test_eager_layers_are_explained_too():
    text = str(nn.RNN(3, 4, mode="eager").explain())
    assert text.startswith('mode="eager": runs on the tape')


def test_an_example_is_needed_without_input_size():
    class Sum(nn.Cell):
        hidden_size = 4

        def step(self, x, h):
            return h + x, h + x

    with pytest.raises(ValueError, match="Sum sets no input_size: pass an example"):
        nn.Recurrent(Sum()).explain()
    report = nn.Recurrent(Sum(), batch_first=True).explain(np.zeros((2, 7, 4), np.float32))
    assert report.cells[0].step.size == (7, 2)


def test_a_wrong_example_is_rejected():
    for layer in (nn.LSTM(3, 4), nn.Recurrent(nn.LSTMCell(3, 4))):
        with pytest.raises(ShapeError, match="wanted"):
            layer.explain(np.zeros((5, 2, 9), np.float32))


def test_names_reach_into_nests():
    class Pair(nn.Cell):
        input_size = 3

        def __init__(self):
            self.scales = nn.ModuleList([nn.Linear(3, 3)])
            self.gains = [tr.ones((3,))]

        def initial_state(self, batch_size):
            return {"a": (tr.zeros((batch_size, 3)),)}

        def step(self, x, s):
            y = self.scales[0](x) * self.gains[0] + s["a"][0]
            return {"y": y}, {"a": (y,)}

    step = explain(Pair()).cells[0].step
    assert step.results[0].startswith("output['y'] = ")
    assert "s['a'][0] (B, 3): state0" in step.leaves
    assert any(s.startswith("gains[0] (3)") for s in step.leaves)
    assert any(s.startswith("scales.0.weight (3, 3)") for s in step.leaves)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("kind", [nn.LayerNormLSTMCell, nn.LayerNormGRUCell])
def test_no_product_is_computed_twice(kind):
    """Normalisation needs all columns of a product, gates some."""
    cell = kind(5, 8)
    step = explain(cell).cells[0].step
    assert step.forward.matrix_flops == 2 * (5 + 8) * cell.gates * 8
    assert step.backward.matrix_flops == 2 * 8 * cell.gates * 8


def test_overlapping_columns_are_cut_where_they_overlap():
    class Overlapping(nn.Cell):
        def __init__(self):
            self.input_size, self.hidden_size = 3, 4
            self.inner = nn.Linear(3 + 4, 8)

        def step(self, x, h):
            z = self.inner(tr.concat([x, h], axis=-1))
            h = tr.tanh(z[:, :4] + z[:, 2:6])
            return z[:, 1:].sum(axis=-1), h

    cell = Overlapping()
    step = explain(cell).cells[0].step
    assert step.forward.matrix_flops == 2 * 7 * 8
    xs = tr.tensor(np.random.default_rng(0).standard_normal((4, 2, 3)), dtype="float32")
    for a, b in zip(nn.Recurrent(cell, "compiled")(xs), nn.Recurrent(cell, "eager")(xs)):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-6)


def test_notebooks_show_a_line_for_each_cell():
    html = nn.LSTM(3, 4, num_layers=2).explain((5, 2))._repr_html_()
    assert html.count("<details>") == 2
    assert "layer 1: LSTMCell(4, 4), float32" in html
    assert "compiles, saves" in html

    class Counts(nn.Cell):
        input_size = hidden_size = 3

        def step(self, x, h):
            return (h, h) if float(x.sum()) < 1 else (x, h)

    html = nn.Recurrent(Counts()).explain((5, 2))._repr_html_()
    assert html.startswith("<details open><summary><b>Counts(3, 3), float32</b> does not compile")
    assert "&lt;" not in html.partition("</summary>")[0]
