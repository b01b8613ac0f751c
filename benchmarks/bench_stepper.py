"""Streaming: one step per call at batch size 1, beside PyTorch's cells and JAX's ``jit``.

"api" is ``layer.stepper(1)`` called with an array; "kernel" is the compiled loop alone, called by a Stepper with
everything in place. PyTorch runs its fused cell under inference_mode, JAX a jitted step on the CPU; both carry
the state. The note gives the 99th percentile of single calls of the API.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

import tinygrad_rnn as tr
from tinygrad_rnn import nn

from . import harness, sides
from .bench_recurrent import load
from .cases import BUILTIN, STEPS, Shape, arrays


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=31)
    names = list(BUILTIN)
    parser.add_argument("--cells", nargs="+", choices=names, default=names, metavar="CELL", help=", ".join(names))
    parser.add_argument("--sizes", type=int, nargs=2, default=[16, 32], metavar=("I", "H"), help="default: 16 32")
    parser.add_argument("--against", nargs="*", choices=("torch", "jax"), default=("torch", "jax"))
    args = harness.parse(parser, argv)
    if not hasattr(nn.LSTM, "stepper"):
        print("skipped: layers have no stepper")
        return 0
    jax, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report("one step at batch size 1, float32, sizes IxH", args, width=16)
        for name in args.cells:
            compare(report, name, Shape(1, 1, *args.sizes), args, torch, jax)
        report.finish()
    return 0


def compare(report: harness.Report, name: str, shape: Shape, args, torch, jax) -> None:
    layer = sides.our_layer(name, shape)
    x = np.random.default_rng(1).standard_normal((1, shape.I)).astype(np.float32)
    functions = {"api": _ours(layer, x), "kernel": _kernel(layer)}
    if torch:
        functions["torch"] = _torch(torch, name, layer, x)
    if jax:
        functions["jax"] = _jax(jax, name, shape, x)
    calls = 500 if args.quick else 20_000
    report.add(
        f"{name} {shape.I}x{shape.H}",
        harness.measure(functions, args.repeats),
        f"99% within {harness.duration(percentile(functions['api'], calls))}",
        cell=name, shape=list(shape),
    )  # fmt: skip


def percentile(function: Callable[[], object], calls: int, share: float = 0.99) -> float:
    """Seconds that `share` of single calls stay within."""
    clock, times = time.perf_counter, []
    for _ in range(calls):
        start = clock()
        function()
        times.append(clock() - start)
    return float(np.quantile(times, share))


def _ours(layer, x: np.ndarray) -> Callable[[], object]:
    step = layer.stepper(1)
    y = np.concatenate([step(x) for _ in range(3)])
    with tr.no_grad():
        whole, _ = layer(np.repeat(x[None], 3, axis=0))
    np.testing.assert_allclose(y, whole.numpy()[:, 0], rtol=1e-5, atol=1e-6)  # it streams what the layer computes
    return lambda: step(x)


def _kernel(layer) -> Callable[[], object]:
    stepper = layer.stepper(1)
    run = stepper._steppers[0].kernel.run
    return lambda owner=stepper: run(False)  # parameters are not compared; the stepper keeps the cell alive


def _torch(torch, name: str, layer, x: np.ndarray) -> Callable[[], object]:
    cell = getattr(torch.nn, BUILTIN[name] + "Cell")(layer.input_size, layer.hidden_size)
    values = layer.state_dict()
    cell.load_state_dict({k: torch.from_numpy(values[f"{k}_l0"]) for k in cell.state_dict()})
    x, now = torch.from_numpy(x), SimpleNamespace(state=None)

    def step():
        with torch.inference_mode():
            now.state = cell(x, now.state)
            return now.state

    return step


def _jax(jax, name: str, shape: Shape, x: np.ndarray) -> Callable[[], object]:
    custom = STEPS[name]
    lib = SimpleNamespace(tanh=jax.numpy.tanh, sigmoid=jax.nn.sigmoid)
    weights = {k: jax.numpy.asarray(v) for k, v in arrays(custom, shape).items()}
    compiled = jax.jit(lambda weights, x, state: custom.step(lib, SimpleNamespace(**weights), x, state))
    zeros = tuple(jax.numpy.zeros((1, shape.H)) for _ in range(custom.n_states))
    now = SimpleNamespace(state=zeros if custom.n_states > 1 else zeros[0])

    def step():
        y, now.state = compiled(weights, x, now.state)
        return jax.block_until_ready(y)

    return step
