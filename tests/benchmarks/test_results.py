"""The benchmarks that RESULTS.md is made of: what they count and compare, what they write, and that they run."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_rnn as tr
from benchmarks import __main__ as command
from benchmarks import (
    bench_heads,
    bench_memory,
    cases,
    goals,
    head_cells,
    onnx_side,
    operations,
    plot,
    results,
    sides,
    tables,
)
from benchmarks.cases import Shape
from tinygrad_rnn.testing import gradcheck

SMALL = Shape(3, 2, 3, 4)
NEW = [name for name in cases.CELLS if name not in cases.CUSTOM]
ROOT = Path(__file__).resolve().parents[2]


# ---- cells and their operations


@pytest.mark.parametrize("name", NEW)
def test_cells_have_right_gradients(name):
    custom = cases.CELLS[name]
    cell = cases.cell(custom, SMALL).to("float64")
    rng = np.random.default_rng(3)
    state = [tr.tensor(rng.standard_normal((2, 4)), requires_grad=True) for _ in range(custom.n_states)]
    x = tr.tensor(rng.standard_normal((2, 3)), requires_grad=True)

    def step(x, *state):
        return cell.step(x, state if len(state) > 1 else state[0])[0]

    assert gradcheck(step, [x, *state])


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", cases.BUILTIN)
def test_steps_of_built_in_cells_are_those_of_the_layers(name):
    """JAX runs these steps; here they run on the tape with the layer's weights."""
    layer = sides.our_layer(name, SMALL, "eager")
    values, custom = layer.state_dict(), cases.STEPS[name]
    for i, key in enumerate(("bias_ih_l0", "bias_hh_l0")):
        values[key] = values[key] + np.float32(0.1 + i)
    layer.load_state_dict(values)
    p = SimpleNamespace(**{k: tr.as_tensor(values[cases.NAMES[k]].T.copy()) for k in custom.weights(3, 4)})
    x, _ = sides.data(SMALL)
    zeros = tuple(tr.zeros((2, 4)) for _ in range(custom.n_states))
    state = zeros if custom.n_states > 1 else zeros[0]
    with tr.no_grad():
        wanted = layer(x)[0].numpy()
        for t in range(SMALL.T):
            y, state = custom.step(tr, p, tr.as_tensor(x[t]), state)
            np.testing.assert_allclose(y.numpy(), wanted[t], rtol=1e-5, atol=1e-6)


def test_operations_of_an_lstm():
    T, B, I, H = shape = Shape(5, 3, 2, 4)
    infer = operations.work(cases.STEPS["lstm"], shape, train=False)
    train = operations.work(cases.STEPS["lstm"], shape, train=True)
    assert infer.products == 2 * T * B * 4 * H * (I + H)
    assert train.products == 2 * T * B * 4 * H * (2 * I + 3 * H)  # no gradient of the inputs
    elementwise = 2 * 4 * H + 5 * operations.ACTIVATION * H + 4 * H  # sums of gates; activations; c and h
    assert infer.total - infer.products == T * B * elementwise
    assert train.total - train.products == 3 * T * B * elementwise


def test_operations_of_a_product_with_a_vector():
    T, B, I, H = shape = Shape(5, 3, 2, 4)
    count = operations.work(cases.CELLS["indrnn"], shape, train=False)
    assert count == (2 * T * B * I * H, 2 * T * B * I * H + T * B * 4 * H)


@pytest.mark.parametrize("name", [*cases.BUILTIN, *cases.CELLS])
def test_torch_computes_the_same(name):
    torch = pytest.importorskip("torch")
    compared = {"ours": sides.ours(name, SMALL, "eager"), "torch": sides.torch_side(torch, name, SMALL)}
    for task in sides.TASKS:
        sides.agree(compared, task)


@pytest.mark.parametrize("name", head_cells.HEAD_CELLS)
def test_torch_computes_the_same_with_heads(name):
    torch, shape = pytest.importorskip("torch"), bench_heads.Heads(4, 2, 2, 3)
    compared = bench_heads.our_side(name, shape, "eager"), bench_heads.torch_side(torch, name, shape)
    for task in sides.TASKS:
        sides.agree(dict(zip(("ours", "torch"), compared)), task)


def test_torch_computes_the_same_with_sixty_scalar_states():
    torch = pytest.importorskip("torch")
    shape, name = Shape(25, 2, 1, 1), cases.SCALARS.name
    compared = {"ours": sides.ours(name, shape, "eager"), "torch": sides.torch_side(torch, name, shape)}
    for task in sides.TASKS:
        sides.agree(compared, task)
    grads = compared["ours"].train()
    assert len(grads) == 2 * cases.RESERVOIRS == 120
    assert all(np.abs(g.numpy()).max() > 0 for g in grads)


@pytest.mark.parametrize("name", cases.BUILTIN)
def test_onnxruntime_computes_the_same(name):
    onnxruntime = onnx_side.load() or pytest.skip("needs onnxruntime")
    ours, theirs = sides.ours(name, SMALL, "eager"), onnx_side.onnx_side(onnxruntime, name, SMALL, threads=1)
    np.testing.assert_allclose(theirs.infer()[0], ours.infer()[0].numpy(), rtol=1e-5, atol=1e-6)
    assert list(sides.tasks_of({"ours": ours, "onnx": theirs}, "train")) == ["ours"]
    sides.agree({"ours": ours, "onnx": theirs}, "train")


@pytest.mark.slow
@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", cases.BUILTIN)
def test_gates_alone_train_biases_only(name):
    side = sides.gates(name, SMALL)
    grads = side.train()
    assert [g.shape for g in grads] == [(4,)] * sum(k[0] == "b" for k in cases.GATES[name].weights(3, 4))
    assert all(np.abs(g.numpy()).max() > 0 for g in grads)


def test_disagreement_is_an_error():
    right = sides.Side(lambda: [np.ones((2, 3))], lambda: [np.ones(3)])
    wrong = sides.Side(lambda: [np.ones((3, 2))], lambda: [np.array([1.0, 1.0, 1.1])], transposed=True)
    sides.agree({"a": right, "b": wrong}, "train")
    with pytest.raises(AssertionError, match="infer: a and b disagree"):
        sides.agree({"a": right, "b": wrong}, "infer")
    nan = sides.Side(lambda: [np.full((2, 3), np.nan)], list)
    with pytest.raises(AssertionError, match="train: a and c disagree"):
        sides.agree({"a": right, "c": nan}, "train")


# ---- goals and tables


def row(**more) -> dict:
    base = {
        "case": "lstm train 50x32x64x128", "cell": "lstm", "task": "train", "shape": [50, 32, 64, 128],
        "seconds": {"ours": 1.0, "torch": 2.0}, "spread": {"ours": 0.01, "torch": 0.02}, "ratio": {"torch": 2.0},
        "gflops": {"ours": 50.0, "torch": 25.0}, "sgemm": 100.0, "share": 0.5, "floor": 0.5,
    }  # fmt: skip
    return base | more


def verdicts(**runs) -> dict[str, goals.Verdict]:
    return {v.goal: v for v in goals.check({name: {"rows": rows} for name, rows in runs.items()})}


def test_goals_are_reached_or_not():
    slower = row(ratio={"torch": 0.5}, where="", share=0.95)
    slower_than_torch, mean, share = verdicts(recurrent=[row(), slower]).values()
    assert (slower_than_torch.reached, slower_than_torch.measured) == (False, "lowest 0.50x; 1 of 2")
    assert slower_than_torch.short == [
        f"{slower_than_torch.goal}: {slower['case']}: 0.50x, at 95% of sgemm, PyTorch at 25%; 4.00x at the floor"
    ]
    assert (mean.reached, mean.measured) == (False, "1.00x")
    assert (share.reached, share.measured) == (False, "lowest 50%; 1 of 2")
    good = row(ratio={"torch": 3.1}, share=0.9)
    assert all(v.reached for v in verdicts(recurrent=[good]).values())


def test_goals_of_two_runs_are_taken_together_and_told_apart():
    runs = {"recurrent": {"rows": [row()]}, "recurrent, 2 threads": {"rows": [row(ratio={"torch": 0.1})]}}
    verdict = goals.check(runs)[0]
    assert verdict.measured == "lowest 0.10x; 1 of 2"
    assert "lstm train 50x32x64x128 (2 threads): 0.10x" in verdict.short[0]


def test_goals_of_threads():
    seconds = {"default": 1.0, "1": 2.0, "torch": 1.5}
    good = row(seconds=seconds, ratio={"1": 2.0, "torch": 1.5}, same_bits=True)
    assert all(v.reached for v in verdicts(threads=[good]).values())
    bad = row(seconds=seconds, ratio={"1": 0.94, "torch": 0.9}, same_bits=False)
    assert [v.reached for v in verdicts(threads=[good, bad]).values()] == [False] * 3


@pytest.mark.slow
def test_threads_are_compared(tmp_path):
    told = benchmark("threads", "--threads", "2", "--repeats", "1", "--cells", "rnn", "--shape", "4", "40", "3", "130")
    assert told.count("same bits") == 2
    assert "OTHER" not in told


def test_goals_that_are_upper_bounds():
    found = verdicts(
        compile=[
            {"case": "a", "kind": "cold", "seconds": 4.0},
            {"case": "b", "kind": "cached", "seconds": 0.05},
            {"case": "library", "kind": "library", "seconds": 99.0},
        ],
        stepper=[row(seconds={"api": 1e-5, "kernel": 6e-6})],
    )
    cold, cached, kernel, api = found.values()
    assert (cold.reached, cold.measured, cold.short) == (False, "highest 4.00 s; 0 of 1", [f"{cold.goal}: a: 4.00 s"])
    assert cached.reached
    assert api.reached
    assert not kernel.reached


def test_goals_of_custom_cells_leave_out_what_is_not_theirs():
    wide, narrow = row(per_flop=1.0), row(per_flop=9.0, shape=[25, 32, 1, 32])
    compiled = row(case="short", torch_compile_seconds=1.0, ratio={"torch": 0.1})
    eager, per_flop = verdicts(cells=[wide, narrow, compiled, row(task="infer", per_flop=9.0)]).values()
    assert eager.measured == "lowest 2.00x; 0 of 2"
    assert eager.short[0].endswith("2.00x; of sgemm: ours 50%, torch 25%")
    assert (per_flop.reached, per_flop.measured) == (True, "highest 1.00x; 1 of 1")


def test_every_run_has_a_title_and_a_table():
    benchmarks = {command[0] for command in results.RUNS.values()}
    assert benchmarks == tables.RENDER.keys() == tables.SECTIONS.keys()


def test_document():
    quiet, busy = {"date": "2000-01-02", "load": 0.25}, {"date": "2000-01-03", "load": 3.25}
    memory = [{"case": "m", "bytes": {"ours": 2**20, "torch": 2**21}, "ratio": {"torch": 2.0}}]
    content = {
        "machine": {"cpu": "some cpu", "blas": ["a", "b"]},
        "runs": {
            "recurrent": {"rows": [row(), row(ratio={"torch": 8.0})], **quiet},
            "cells, 2 threads": {"skipped": "no second processor", **quiet},
            "memory": {"rows": memory, **busy},
            "compile": {"error": "it broke", **quiet, "load": None},
        },
    }
    text = tables.document(content, {"recurrent": "plot.png"}, "Memory bounds it.\n")
    assert "on 2000-01-02, 2000-01-03." in text
    assert "Made on 2000-01-02." in text
    assert text.count("busy (a load of 3.2 ") == 1
    assert "| cpu | some cpu |" in text
    assert "| lstm train 50x32x64x128 | 1.00 s ±1% | 2.00 s ±2% | 2.00 | 50.0 | 50% | 25% | 50% | 4.00 |" in text
    assert "Geometric means: torch 4.00 (lowest 2.00)." in text
    assert "![Speed-ups](plot.png)" in text
    assert "| m | 1.0 MiB | 2.0 MiB | 2.00 |" in text
    assert "\nMemory bounds it.\n" in text
    assert "Not measured: no second processor" in text
    assert "Not measured: it broke" in text


def test_plot(tmp_path):
    pytest.importorskip("matplotlib")
    plot.speedups([row(), row(task="infer", ratio={"torch": 1.0, "jax": 2.0})], tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# ---- running them


def benchmark(*arguments: str) -> str:
    """Run in a process of its own: JAX keeps threads, and wants its settings before it is imported."""
    process = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.mark.slow
@pytest.mark.skipif(not bench_memory.CLEAR.exists(), reason="needs Linux")
def test_memory_of_a_step_grows_with_its_length():
    sizes = [
        int(benchmark("memory", "--side", "ours", "--cells", "rnn", "--shape", T, "64", "16", "128"))
        for T in ("50", "400")
    ]
    assert sizes[1] - sizes[0] > 350 * 64 * 128 * 4  # the outputs alone


@pytest.mark.exhaustive
def test_results_end_to_end(tmp_path):
    assert "cells, 2 threads" in results.RUNS
    benchmark("results", "--quick", "--out", str(tmp_path), "--only", "recurrent", "stepper", "compile")
    content = json.loads((tmp_path / "results.json").read_text())
    runs = content["runs"]
    assert list(runs) == ["recurrent", "stepper", "compile"]
    assert len(runs["recurrent"]["rows"]) == 2 * len(cases.BUILTIN) * len(cases.QUICK)
    kinds = {row["kind"]: row["seconds"] for row in runs["compile"]["rows"]}
    assert kinds["cold"] > kinds["cached"]
    assert "## Streaming" in (tmp_path / "RESULTS.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "RESULTS.md", "results.json", results.PLOTS["recurrent"],
    ]  # fmt: skip
    before = (tmp_path / "RESULTS.md").read_text()
    benchmark("results", "--render", "--out", str(tmp_path))
    assert (tmp_path / "RESULTS.md").read_text() == before


def test_failing_runs_are_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(results.RUNS, "memory", ("memory", "--cells", "nonsense"))
    assert command.main(["results", "--quick", "--out", str(tmp_path), "--only", "memory"]) == 1
    assert "nonsense" in capsys.readouterr().err
    assert "invalid choice: 'nonsense'" in (tmp_path / "RESULTS.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["RESULTS.md", "results.json"]
