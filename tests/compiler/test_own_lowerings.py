"""Lowerings of others: primitives, reductions and decompositions of one's own compile as well."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn.compiler.ir.lane_language import CodeError, parse
from tinygrad_rnn.core import Lowering, Op, Reduction
from tinygrad_rnn.errors import CompileError, ShapeError
from tinygrad_rnn.recurrent import scan

from .agreement import close, leaves_of, loss_of
from .lowered import WIDTH, Everything, grid


def test_own_primitives():
    """With rules for each operand, with one for all, without any, and with static parameters."""

    def joint(g, y, a, b, needs, scale):
        return [g * b * scale if needs[0] else None, g * a * scale if needs[1] else None]

    ours = Lowering("elementwise", "{0} * {1} * {scale}", 2)
    scaled = Op("scaled_product", lambda a, b, scale: a * b * scale, joint_vjp=joint, lowering=ours)
    cube = Op("own_cube", lambda x: x * x * x, vjps=[lambda g, y, x: g * 3 * x * x],
              lowering=Lowering("elementwise", "{0} * {0} * {0}"))  # fmt: skip
    step = Op("own_step", lambda x: (x > 0) * 1.0, lowering=Lowering("elementwise", "vselect({0} > 0.0, 1.0, 0.0)"))
    functions = [
        lambda a, b: tr.core.apply(scaled, (a, b), {"scale": 0.3}),
        lambda a, b: tr.core.apply(scaled, (a, b), {"scale": 0.4}) + tr.core.apply(cube, (a,), {}),
        lambda a, b: tr.core.apply(step, (a,), {}) * b,
    ]
    found = []
    for mode in ("compiled", "eager"):
        xs = [tr.tensor(grid("float64", 3, 2, WIDTH) + i, requires_grad=True) for i in range(2)]
        ys, _ = scan(Everything(functions, "float64"), xs, mode=mode)
        found.append([t.numpy() for t in (*ys, *tr.grad(loss_of(ys), xs))])
    for a, b in zip(*found):
        close(a, b, 1e-12)


def own(name, forward, rule=None, **lowering):
    """An operation of one's own, which the registry does not know."""
    vjps = None if rule is None else [rule]
    op = Op(name, forward, vjps=vjps, lowering=Lowering(**lowering))
    return lambda *args, **static: tr.core.apply(op, args, static)


def roads(functions, arrays, dtype):
    """Results and gradients, compiled and on the tape."""
    found = []
    for mode in ("compiled", "eager"):
        xs = [tr.tensor(np.asarray(a, dtype), requires_grad=True) for a in arrays]
        ys, _ = scan(Everything(functions, dtype), xs, mode=mode)
        ys = leaves_of(ys)
        loss = loss_of(ys)
        grads = tr.grad(loss, xs, allow_unused=True) if isinstance(loss, tr.Tensor) else []
        found.append([None if t is None else t.numpy() for t in (*ys, *grads)])
    return found


def same_on_both(functions, arrays, dtype="float64"):
    for a, b in zip(*roads(functions, arrays, dtype), strict=True):
        close(a, b, 1e-12 if dtype == "float64" else 2e-5)


sumsq = own(
    "sumsq",
    lambda x: np.sum(x * x, axis=-1, keepdims=True),
    lambda g, y, x: g * 2 * x,
    reduction=Reduction(0.0, "{0} + {1}", each="{0} * {0}"),
)
length = own(
    "length",
    lambda x, scale: scale * np.sqrt(np.sum(x * x, axis=1)),
    lambda g, y, x, scale: (g / y)[:, None] * x * (scale * scale),
    reduction=Reduction(0.0, "{0} + {1}", each="{0} * {0}", finish="{scale} * sqrt({0})"),
)
largest = own(
    "largest",
    lambda x, axis: np.max(np.abs(x), axis=axis, keepdims=True),
    lambda g, y, x, axis: g * tr.where(tr.abs(x) == y, tr.sign(x), 0.0),
    reduction=Reduction(0, "vselect({0} > {1}, {0}, {1})", each="vabs({0})"),
)
product = own(
    "product",
    lambda x: np.prod(x, axis=-1, keepdims=True),
    lambda g, y, x: g * y / x,
    reduction=Reduction(1.0, "{0} * {1}"),
)
positive = own(
    "positive",
    lambda m: np.sum(m, axis=-1) > 2,
    reduction=Reduction(0.0, "{0} + {1}", "{0} > 2.0", each="vselect({0} & {0}, 1.0, 0.0)"),
)
OWN_REDUCTIONS = [
    sumsq,
    lambda x: length(x, scale=0.7),
    lambda x: largest(x, axis=-1) * x,
    product,
    lambda x: tr.where(positive(x > 0)[:, None], x, 0.5 * x),
    lambda x: sumsq(tr.tanh(sumsq(x) * 0.1 * x)),
]


@pytest.mark.sampled(6)
@pytest.mark.parametrize("width", [1, 2, 3, 4, 7, 8, 9, 16, 17, 33])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_own_reductions(width, dtype):
    x = grid(dtype, 3, 4, width)
    same_on_both(OWN_REDUCTIONS, [np.where(np.abs(x) < 0.2, 0.5, x)], dtype)


def test_own_reductions_of_an_empty_batch():
    for mode in ("compiled", "auto", "eager"):
        with pytest.raises(ShapeError, match="empty batch"):
            scan(Everything(OWN_REDUCTIONS, "float64"), [tr.tensor(np.ones((3, 0, 5)))], mode=mode)


@pytest.mark.slow
def test_reductions_of_joined_rows():
    """Of pieces that are known at different times, too; ties between pieces share the gradient as others do."""

    def late(x):
        return tr.concat([x, tr.tanh(sumsq(x)) * x[:, :3], x * x], axis=-1)

    reductions = [*OWN_REDUCTIONS[:4], lambda v: v.max(axis=-1), lambda v: v.min(axis=-1), lambda v: v.sum(axis=-1)]
    functions = [lambda x, f=f: f(late(x)) for f in reductions]
    functions += [lambda x, f=f: f(tr.concat([x, x], axis=-1)) for f in reductions]
    functions += [lambda x: tr.concat([x.round(), x.round() * 1.0, x[:, :2]], axis=-1).max(axis=-1)]
    functions += [lambda x: tr.where(tr.any(tr.concat([x > 1, x < -2], axis=-1), axis=-1, keepdims=True), x, 2 * x)]
    same_on_both(functions, [grid("float64", 3, 5, WIDTH)])


def test_all_and_any_along_features():
    functions = [
        lambda x: tr.all(x > -2, axis=-1) * x[:, 0],
        lambda x: tr.where(tr.any(x > 2.5, axis=-1, keepdims=True), x, -x),
        lambda x: tr.where(tr.all(x, axis=1, keepdims=True), x, 3.0),
    ]
    x = grid("float64", 4, 6, 5)
    x[:, ::2, 1] = 0
    same_on_both(functions, [x])


def test_own_decompositions():
    """They are differentiated through their parts; without rules nothing flows, as on the tape."""
    swish = own(
        "swish",
        lambda x, beta: x / (1 + np.exp(-beta * x)),
        lambda g, y, x, beta: g * (tr.sigmoid(beta * x) + beta * x * tr.sigmoid(beta * x) * tr.sigmoid(-beta * x)),
        decompose=lambda x, beta: x * tr.sigmoid(x * beta),
    )
    spread = own(
        "spread", lambda x: x - x.mean(axis=-1, keepdims=True), decompose=lambda x: x - x.mean(-1, keepdims=True)
    )
    halves = Op(
        "halves",
        lambda x: (x[:, :4] * 1.0, x[:, 4:] * 1.0),
        joint_vjp=lambda g, y, x, needs: [tr.concat([g[0], g[1]], axis=1)],
        lowering=Lowering(decompose=lambda x: (x[:, :4], x[:, 4:])),
    )
    maybe = own(
        "maybe",
        lambda x, n: x * n,
        lambda g, y, x, n: g * n,
        code="{0} * {n}",
        decompose=lambda x, n: x + x if n == 2 else NotImplemented,
    )
    functions = [
        lambda x: swish(x, beta=1.5),
        lambda x: spread(x) * x,
        lambda x: maybe(x, n=2) + maybe(x, n=3),
        lambda x: tr.concat(tr.core.apply(halves, (x,), {})[::-1], axis=1) * x,
    ]
    same_on_both(functions, [grid("float64", 3, 4, WIDTH)])


def test_what_a_decomposition_reads_is_not_stale():
    box = {"slope": 1.0}
    op = own(
        "scaled", lambda x: box["slope"] * x, lambda g, y, x: g * box["slope"], decompose=lambda x: box["slope"] * x
    )
    x = grid("float64", 2, 3, 4)
    for slope in (1.0, 2.0):
        box["slope"] = slope
        same_on_both([op], [x])


@pytest.mark.parametrize("part", [lambda x: x[:, :1], lambda x: 1.0, lambda x: x > 0, lambda x: (x, x)])
def test_decompositions_that_give_something_else(part):
    op = own("odd", lambda x: 2 * x, lambda g, y, x: 2 * g, decompose=part)
    cell, xs = Everything([op], "float64"), [tr.tensor(grid("float64", 2, 3, 4))]
    with pytest.raises(CompileError, match=r"odd.*decomposition"):
        scan(cell, xs, mode="compiled")
    with pytest.warns(RuntimeWarning, match="runs eagerly.*odd"):
        ys, _ = scan(cell, xs)
    close(leaves_of(ys)[0].numpy(), 2 * xs[0].numpy(), 1e-15)


@pytest.mark.slow
def test_names_do_not_matter():
    """An operation of a user's is not taken for one that the compiler knows."""
    functions = []
    for name in (
        "constant",
        "spread",
        "slice",
        "cast",
        "alias",
        "zero",
        "sum",
        "negative",
        "add",
        "matmul",
        "power",
        "output_gate",
    ):
        f = own(name, lambda x: x * x, lambda g, y, x: g * 2 * x, code="{0} * {0}")
        functions += [f, lambda x, f=f: (x - f(x).mean(axis=-1, keepdims=True)).sum(axis=-1) + f(x[:, :1])[:, 0]]
    same_on_both(functions, [grid("float64", 2, 3, 5)])


def test_names_do_not_matter_to_parameters():
    """Nor in what is computed before the loop."""
    w = tr.tensor(grid("float64", 5, 5) + 3.0)
    functions = []
    for name in ("getitem", "transpose", "reshape", "broadcast_to", "output_gate", "slice"):
        f = own(name, lambda x: x * x, lambda g, y, x: g * 2 * x, code="{0} * {0}")
        functions += [lambda x, f=f: x * f(w[0]), lambda x, f=f: x @ f(w), lambda x, f=f: x @ f(w).T[:, :3]]
    same_on_both(functions, [grid("float64", 2, 3, 5)])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_beside_values(dtype):
    """Any function takes a number for any of its arguments."""
    functions = [
        own("own_root", lambda x: x ** x.dtype.type(0.5), code="power({0}, 0.5)"),
        own("own_power", lambda x: x.dtype.type(2.0) ** x, code="power(2.0, {0})"),
        own("own_largest", lambda x: np.maximum(x.dtype.type(1.5), x), code="vmax(1.5, {0})"),
        own("own_choice", lambda x: np.where(x > 2, x, x.dtype.type(-2.0)), code="vselect({0} > 2.0, {0}, -2.0)"),
    ]
    functions = [lambda x, f=f: f(x.detach()) + x for f in functions]
    same_on_both(functions, [np.abs(grid(dtype, 3, 2, WIDTH)) + 1], dtype)


def test_maths_of_masks_and_of_numbers_alone():
    flip = own("flip", lambda a, b: ~a & b, code="~{0} & {1}")
    thirds = own("thirds", lambda x: x * (1 / 3) - -2, lambda g, y, x: g * (1 / 3), code="{0} * (1 / 3) - -2")
    ones = own("ones", lambda x: np.ones_like(x), code="1")
    root = own("root", lambda x: np.maximum(np.sqrt(x.dtype.type(2.0)), x), code="vmax(sqrt(2.0), {0})")
    nested = own(
        "nested",
        lambda x: x - (x - (x - 1) / (x * x / (x + 5))),
        code="{0} - ({0} - ({0} - 1) / ({0} * {0} / ({0} + 5)))",
    )
    functions = [
        lambda x: tr.where(flip(x > 0, x > -2), x, 0.0),
        thirds,
        lambda x: ones(x) + x,
        root,
        lambda x: nested(x + 4.0),
        lambda x: tr.abs(x > 0) * x + tr.sign(x > 1) * x,
    ]
    same_on_both(
        [lambda x, f=f: f(x) if f is not root and f is not nested else f(x.detach()) for f in functions],
        [grid("float64", 2, 3, 5)],
    )


BAD_CODES = {
    "": "expression",
    "{0} +": "expression",
    "{0": "expression",
    "{0:x}": "names",
    "{}": "names",
    "{3}": "1 inputs",
    "{missing}": "missing",
    "{word}": "word",
    "{0} % 2": "operators",
    "{0} ** 2": "operators",
    "{0} if 1 else 2": "if",
    "0 < {0} < 1": "comparisons of two",
    "{0} is 1": "comparisons",
    "{0}[0]": "calls",
    "lambda: {0}": "calls",
    "x": "'x'",
    "vload({0}, 1)": "vload",
    "np.cosh({0})": "np.cosh",
    "exp({0}, {0})": "1 arguments of exp",
    "vmax({0})": "2 arguments of vmax",
    "exp(v={0})": "arguments",
    "vsplat({0}, k)": "vsplat",
    "vsplat(1.0, 2)": "vsplat",
    "{0} & 1.0": "truth value",
    "({0} > 0) + 1": "truth value",
    "vselect({0}, {0}, 1.0)": "truth value",
    "~{0} + {0}": "truth value",
    "{0} > 0.0": "numbers, as the operation gives",
    "1.0 / 0.0": "a number",
    "True": "True",
    "'a'": "'a'",
    "1j * {0}": "1j",
    "__import__('os')": "import",
    "{0}; {0}": "expression",
    7: "wanted an expression",
}


@pytest.mark.parametrize("code", BAD_CODES)
def test_codes_that_are_refused(code):
    op = own("odd", lambda x, word: x * 2.0, kind="elementwise", code=code)
    cell, xs = Everything([lambda x: op(x, word="w")], "float64"), [tr.tensor(grid("float64", 1, 2, 3))]
    with pytest.raises(CompileError, match="odd") as caught:
        scan(cell, xs, mode="compiled")
    assert re.search(BAD_CODES[code], str(caught.value)), str(caught.value)
    with pytest.warns(RuntimeWarning, match="runs eagerly.*odd"):
        scan(cell, xs)


BAD_REDUCTIONS = {
    "nothing": None,
    "a word": Reduction("zero", "{0} + {1}"),
    "nan": Reduction(np.nan, "{0} + {1}"),
    "one input": Reduction(0.0, "{0} + {0}"),
    "three inputs": Reduction(0.0, "{0} + {1} + {2}"),
    "masks": Reduction(0.0, "{0} | {1}"),
    "finish": Reduction(0.0, "{0} + {1}", "{1}"),
    "each": Reduction(0.0, "{0} + {1}", each="cosh({0})"),
    "truths": Reduction(0.0, "{0} + {1}", each="{0} > 0.0"),
    "of another kind": Reduction(0.0, "{0} + {1}", finish="{0} > 0.0"),
}


@pytest.mark.parametrize("name", BAD_REDUCTIONS)
def test_reductions_that_are_refused(name):
    lowering = {"kind": "reduce", "reduction": BAD_REDUCTIONS[name]}
    cell = Everything([own("odd", lambda x: x.sum(axis=-1), **lowering)], "float64")
    xs = [tr.tensor(grid("float64", 1, 2, 3))]
    with pytest.raises(CompileError, match="odd"):
        scan(cell, xs, mode="compiled")
    with pytest.warns(RuntimeWarning, match="runs eagerly.*odd"):
        scan(cell, xs)


@pytest.mark.parametrize("forward", [lambda x: x.sum(axis=0), lambda x: x * 2.0, lambda x: x.sum(axis=-1) > 0])
def test_reductions_that_reduce_something_else(forward):
    cell = Everything([own("odd", forward, reduction=Reduction(0.0, "{0} + {1}"))], "float64")
    with pytest.raises(CompileError, match="odd"):
        scan(cell, [tr.tensor(grid("float64", 1, 3, 3))], mode="compiled")


def test_the_language():
    assert parse("-({0} * 2)") is parse("-({0} * 2)")  # once
    code = parse("vselect({0}, {1} * {scale}, -INF)")
    assert code.statics == {"scale"}
    assert [code.wants(i) for i in (0, 1)] == ["a truth value", "a number"]
    with pytest.raises(CodeError, match="got 'y @ x'"):
        parse("{1} @ {0}")
