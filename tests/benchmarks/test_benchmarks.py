"""``python -m benchmarks``, and the cases: both sides compute the same."""

import json

import numpy as np
import pytest

import tinygrad_rnn as tr
from benchmarks import __main__ as command
from benchmarks import bench_airline, bench_layers, cases
from tinygrad_rnn.testing import gradcheck

SMALL = cases.Shape(3, 2, 3, 4)


def test_list(capsys):
    assert command.main([]) == 0
    text = capsys.readouterr().out
    assert {"airline", "layers"} <= set(command.names())
    assert all(f"\n  {name} " in text for name in command.names())
    assert "harness" not in command.names()


def test_unknown_name(capsys):
    assert command.main(["warp"]) == 2
    assert "got 'warp', wanted one of airline," in capsys.readouterr().err


@pytest.mark.parametrize("name", command.names())
def test_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main([name, "--help"])
    assert stop.value.code == 0
    assert f"python -m benchmarks {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", cases.CUSTOM)
def test_custom_cells_have_right_gradients(name):
    custom = cases.CUSTOM[name]
    cell = cases.cell(custom, SMALL).to("float64")
    rng = np.random.default_rng(3)
    state = [tr.tensor(rng.standard_normal((2, 4)), requires_grad=True) for _ in range(custom.n_states)]
    x = tr.tensor(rng.standard_normal((2, 3)), requires_grad=True)

    def step(x, *state):
        return cell.step(x, state if len(state) > 1 else state[0])[0]

    assert gradcheck(step, [x, *state])


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [*cases.BUILTIN, *cases.CUSTOM])
def test_both_sides_compute_the_same(name):
    torch = pytest.importorskip("torch")
    ours, theirs = bench_layers.layers(name, SMALL, "eager", torch)
    runs = bench_layers.ours_runs(ours, SMALL), bench_layers.torch_runs(torch, theirs, SMALL)
    for task in bench_layers.TASKS:
        mine, other = (run[task]() for run in runs)
        assert len(mine) == len(other)
        assert mine[0].shape == (3, 2, 4)
        for a, b in zip(mine, other):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_disagreement_is_an_error():
    with pytest.raises(AssertionError):
        bench_layers.agree([np.ones(3)], [np.array([1.0, 1.0, 1.1])])


def test_flops():
    assert cases.matrix_flops([np.empty((3, 8)), np.empty((4, 8)), np.empty(8)], SMALL) == 2 * 3 * 2 * 56


@pytest.mark.parametrize("shape", cases.SHAPES)
def test_shapes_print_as_they_are_asked_for(shape):
    assert str(shape) == f"{shape.T}x{shape.B}x{shape.I}x{shape.H}"


def test_layers_end_to_end(tmp_path, capsys):
    file = tmp_path / "layers.json"
    arguments = ["layers", "--quick", "--shape", "3", "2", "3", "4", "--cells", "gru", "indrnn"]
    assert command.main([*arguments, "--mode", "eager", "--json", str(file)]) == 0
    assert "gru train 3x2x3x4" in capsys.readouterr().out
    rows = json.loads(file.read_text())["rows"]
    assert [row["case"].split()[:2] for row in rows] == [
        ["gru", "train"],
        ["gru", "infer"],
        ["indrnn", "train"],
        ["indrnn", "infer"],
    ]
    assert all(row["gflops"]["ours"] > 0 for row in rows)


@pytest.mark.slow
def test_airline_starts_from_the_same_weights_and_learns_on_both_sides():
    torch = pytest.importorskip("torch")
    model, _ = bench_airline.torch_model(torch, fused=False)
    assert model.lstm.bias_ih_l0.tolist() == [0.0] * 4 + [1.0] * 4 + [0.0] * 8
    losses = [bench_airline.ours(2)(), bench_airline.theirs(torch, 2, fused=False)()]
    assert losses[0] == pytest.approx(losses[1], rel=0.2)  # the order of the windows differs


@pytest.mark.slow
def test_airline_profile(capsys):
    assert command.main(["airline", "--quick", "--profile"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{part} " in text for part in (*bench_airline.PARTS, "sum"))
