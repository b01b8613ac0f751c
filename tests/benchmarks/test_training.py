"""Whole training steps: every side does the same work, and the loop by hand is the model's own training."""

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tr
from benchmarks import __main__ as command
from benchmarks import bench_airline, bench_recurrent, goals, results, tables, tasks, training_sides
from tinygrad_rnn import nn, optim, train

from .test_results import benchmark

SMALL = {
    "language": lambda: tasks.language(7, 3, 4, 5, 2),
    "digits": lambda: tasks.digits(rows=4, columns=3, hidden=4, B=6, classes=3),
    "airline": tasks.airline_task,
}


def in_float64(task: tasks.Task) -> tasks.Task:
    arrays = [a.astype("float64") if a.dtype.kind == "f" else a for a in (task.inputs, task.targets)]
    return task._replace(build=lambda: task.build().to("float64"), inputs=arrays[0], targets=arrays[1])


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize(("look_back", "hidden"), [(1, 4), (3, 5)])
def test_the_loop_by_hand_trains_as_the_tape_does(look_back, hidden):
    task = in_float64(tasks.airline_task(look_back, hidden))
    tape, loop = training_sides.tape(task), training_sides.loop_side(task)
    assert loop.weights().keys() == tape.weights().keys()
    for _ in range(3):  # its count of updates goes on from epoch to epoch
        np.testing.assert_allclose(loop.epoch(), tape.epoch(), rtol=1e-10, atol=0)
    for name, wanted in tape.weights().items():
        np.testing.assert_allclose(loop.weights()[name], wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
@pytest.mark.sampled(2)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_loop_by_hand_stays_in_its_dtype(dtype):
    task = tasks.airline_task()
    losses = training_sides.loop_side(in_float64(task) if dtype == "float64" else task).epoch()
    assert losses.dtype == dtype


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SMALL)
def test_torch_does_the_same_work(name):
    torch = pytest.importorskip("torch")
    task = in_float64(SMALL[name]())
    ours, theirs = training_sides.tape(task), training_sides.torch_side(torch, task)
    np.testing.assert_allclose(theirs.epoch(), ours.epoch(), rtol=1e-10)
    for key, wanted in ours.weights().items():
        np.testing.assert_allclose(theirs.weights()[key], wanted, rtol=1e-7, atol=1e-9)
    training_sides.agree(training_sides.candidates(SMALL[name](), torch, None))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs JAX")
def test_jax_does_the_same_work(tmp_path):
    """In a process of its own: JAX wants its settings before it is imported."""
    file = tmp_path / "training.json"
    benchmark("training", "--quick", "--repeats", "1", "--tasks", *tasks.QUICK, "--against", "jax", "--json", str(file))
    rows = json.loads(file.read_text())["rows"]  # made after all sides agree
    assert [row["task"] for row in rows] == list(tasks.QUICK)
    assert all({"jax", "jax scan"} <= row["ratio"].keys() for row in rows)


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [name for name in tasks.TASKS if name not in ("airline", "words")])
def test_gradients_are_clipped(name):
    """Otherwise it could not be told whether all sides clip."""
    task = tasks.TASKS[name]()
    model = task.build()
    x, y = next(iter(task.loader))
    nn.cross_entropy(model(x), y).backward()
    assert optim.clip_grad_norm_(model.parameters(), 1e9) > task.clip


@pytest.mark.parametrize("change", [{"lr": 1.1e-2}, {"clip": None}, {"eps": 1e-5}, {"batch_size": 1}])
def test_other_work_is_an_error(change):
    task = SMALL["language"]()
    sides = {"ours": training_sides.tape(task), "other": training_sides.tape(task._replace(**change))}
    with pytest.raises(AssertionError, match="ours and other disagree"):
        training_sides.agree(sides)


def test_tasks_have_the_shapes_of_their_names():
    task = tasks.TASKS["text"]()
    x, y = next(iter(task.loader))
    assert task.name == "(65, 64, 128, 50, 32)"
    assert x.shape == y.shape == (50, 32)
    shapes = {name: p.shape for name, p in task.build().named_parameters()}
    assert shapes["embedding.weight"] == (65, 64)
    assert shapes["rnn.weight_hh_l0"] == (4 * 128, 128)
    assert task.steps == tasks.STEPS
    assert [a.shape for a in next(iter(tasks.TASKS["digits"]().loader))] == [(128, 28, 28), (128,)]
    assert tasks.TASKS["airline"]().steps == 95


def test_the_airline_starts_as_the_model_does():
    task = tasks.airline_task()
    tr.seed(0)
    model, mine = bench_airline.airline.Forecaster(4), task.build()
    np.testing.assert_array_equal(mine(task.inputs).numpy(), model(task.inputs).numpy())
    trained = [p.requires_grad for p in model.parameters()]
    assert [p.requires_grad for p in mine.parameters()] == trained
    assert trained.count(False) == 1


def test_a_step_that_is_one_call_comes_first(monkeypatch):
    class Step:
        def __init__(self, model, optimizer, loss, clip_norm=None):
            self.model, self.optimizer, self.loss, self.clip_norm = model, optimizer, loss, clip_norm

        def __call__(self, x, y):
            loss = self.loss(self.model(x), y)
            self.optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(list(self.model.parameters()), self.clip_norm)
            self.optimizer.step()
            return loss

        def run(self, loader, n):
            return [self(x, y) for (x, y), _ in zip(loader, range(n))]

    monkeypatch.setattr(train, "TrainStep", Step, raising=False)
    sides = training_sides.candidates(SMALL["language"](), None, None)
    assert list(sides) == ["ours", "run", "tape"]
    training_sides.agree(sides)


@pytest.mark.slow
@pytest.mark.parametrize("torch", [True, False])
def test_end_to_end(torch, tmp_path, monkeypatch, capsys):
    if torch:
        pytest.importorskip("torch")
    else:
        monkeypatch.setattr(bench_recurrent.harness, "torch", lambda: None)
    monkeypatch.setitem(tasks.TASKS, "letters", SMALL["language"])
    file = tmp_path / "training.json"
    arguments = ["--quick", "--repeats", "1", "--tasks", "letters", "epochs", "--against", "torch", "--json", str(file)]
    assert command.main(["training", *arguments]) == 0
    assert ("torch is not installed, and left out" in capsys.readouterr().out) == (not torch)
    steps, epochs = json.loads(file.read_text())["rows"]
    assert (steps["case"], steps["task"], steps["steps"]) == ("(7, 3, 4, 5, 2)", "letters", tasks.STEPS)
    assert (epochs["case"], epochs["epochs"]) == ("airline, 2 epochs", 2)
    assert "loop" in epochs["ratio"]
    assert ("torch" in steps["ratio"]) == torch
    assert "| airline, 2 epochs |" in "\n".join(tables.body("training", {"rows": [steps, epochs]}))


# ---- goals


def verdicts(*rows, name="training") -> dict[str, goals.Verdict]:
    return {v.goal: v for v in goals.check({name: {"rows": list(rows)}})}


def row(task, seconds=1e-5, **ratio) -> dict:
    ratio = {name.replace("_", " "): x for name, x in ratio.items()}
    return {"case": task.upper(), "task": task, "seconds": {"ours": seconds}, "ratio": ratio}


def test_goals_of_steps_are_those_of_their_task():
    found = verdicts(row("letters", torch=9.0, jax=4.5), row("words", torch=1.4), row("epochs", torch=120.0))
    assert {goal: v.reached for goal, v in found.items()} == {
        "training, LETTERS, and JAX's jitted step": True,
        "training, LETTERS, and PyTorch": False,
        "training, WORDS, and PyTorch": True,
        "training, EPOCHS, and PyTorch": True,
    }
    assert found["training, LETTERS, and PyTorch"].wanted == "at least 10.00x"


def test_goals_of_steps_hold_on_one_thread():
    assert not verdicts(row("letters", torch=1.0), name="training, 2 threads")


@pytest.mark.parametrize(("run", "measured"), [({}, "lowest 0.02x"), ({"run": 0.01}, "lowest 2.00x")])
def test_goals_of_the_airline_count_many_steps_in_one_call(run, measured):
    scan, loop, call = verdicts(row("airline", jax_scan=0.02, loop=0.002, **run)).values()
    assert scan.measured.startswith(measured)
    assert scan.reached == bool(run)
    assert (loop.wanted, loop.reached) == ("at least 0.33x", False)
    assert call.reached
    assert not verdicts(row("airline", 31e-6))["the airline's step, called from Python"].reached


def test_runs_that_are_no_longer_made_are_dropped(tmp_path):
    training = {"date": "2000-01-02", "load": None, "skipped": "no time"}
    content = {"machine": {}, "runs": {"airline": {"rows": []}, "training": training}}
    (tmp_path / "results.json").write_text(json.dumps(content))
    assert results.main(["--render", "--out", str(tmp_path)]) == 0
    assert "Whole training steps\n" in (tmp_path / "RESULTS.md").read_text()


def test_small_ratios_keep_two_digits():
    report = SimpleNamespace(row={"ratio": {"loop": 0.00412}})
    assert tables._ratio(report.row, "loop") == "0.0041"
