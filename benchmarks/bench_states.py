"""A cell of 60 scalar states over 614 steps, beside PyTorch's eager loop and JAX's ``lax.scan``.

It is a row of nonlinear reservoirs, as in models of rivers or of a body's compartments: hardly any arithmetic, but 60
arrays of one number each that every step reads and writes. Training is forward and backward with gradients of all 120
parameters. Results are compared over fewer steps.
"""

from __future__ import annotations

from . import harness, sides
from .bench_recurrent import LIMIT, add_against, load
from .cases import SCALARS, Shape

T, QUICK_T = 614, 20


def main(argv: list[str] | None = None) -> int:
    parser = harness.options(__name__, __doc__, repeats=15)
    parser.add_argument("--tasks", nargs="+", choices=sides.TASKS, default=sides.TASKS, metavar="TASK")
    add_against(parser)
    args = harness.parse(parser, argv)
    jax, torch = load(args)
    with harness.threads(args.threads):
        report = harness.Report("60 scalar states, float32, shapes TxBxIxH", args, width=28)
        short, long = (Shape(t, 1, 1, 1) for t in (QUICK_T, T))
        compared = sides.candidates(SCALARS.name, short, torch, jax)
        timed = compared if args.quick else sides.candidates(SCALARS.name, long, torch, jax)
        for task in args.tasks:
            sides.agree(compared, task)
            timings = harness.measure(sides.tasks_of(timed, task), args.repeats, limit=LIMIT)
            report.add(f"{task} {short if args.quick else long}", timings, task=task)
        report.finish()
    return 0
