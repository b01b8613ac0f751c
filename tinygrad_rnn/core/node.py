"""Records of operations, and the graph nodes that their applications leave."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from .. import config
from ..errors import DTypeError, ShapeError
from .dtype import KNOWN_DTYPES, as_array
from .lowering import Lowering

OUT = "out"  # in `saves`: the rule reads the operation's result
clock = itertools.count(1)  # orders graph nodes and in-place writes


class Op:
    """One primitive: NumPy forward, vector-Jacobian products, lowering.

    Attributes
    ----------
    name : str
    forward : callable or None
        ``forward(*arrays, **static)``: arrays (and Python numbers) to an array, or to a tuple of arrays. None for
        operations that only programs of the compiler have.
    vjps : sequence of callables or None
        ``vjps[i](g, out, *args, **static)`` is the cotangent of input ``i``. Written in this package's own
        operations, so that one rule serves arrays, tensors (higher order) and symbols (the compiler).
        A result that was broadcast is summed back by the caller.
    joint_vjp : callable or None
        ``joint_vjp(g, out, *args, needs, **static)`` gives the cotangents of all inputs at once.
    saves : tuple
        Positions of the inputs whose *values* the rules read, and ``OUT``. The others reach the rules as
        :class:`Aval` (shape and dtype only) and are not kept alive.
    lowering : Lowering or None
        What it is in a compiled loop.
    view : bool
        The result may share memory with the first input.
    floats : bool
        Integer inputs are first cast to the default float dtype (division, exp, mean, ...).
    owns_gradients : bool
        The rules return new arrays: the walk may add further cotangents to them in place.
    untyped : tuple of int
        Positions that keep their own dtype (conditions).
    """

    __slots__ = (
        "differentiable",
        "floats",
        "forward",
        "joint_vjp",
        "lowering",
        "name",
        "owns_gradients",
        "saves",
        "saves_out",
        "untyped",
        "view",
        "vjps",
    )

    def __init__(
        self,
        name: str,
        forward: Callable | None,
        vjps: Sequence[Callable | None] | None = None,
        joint_vjp: Callable | None = None,
        saves: Collection[int | str] | None = None,
        lowering: Lowering | None = None,
        view: bool = False,
        floats: bool = False,
        untyped: tuple[int, ...] = (),
        owns_gradients: bool = False,
    ) -> None:
        self.name: str = name
        self.forward: Any = forward
        self.vjps: Sequence[Callable | None] | None = vjps
        self.joint_vjp: Callable | None = joint_vjp
        self.saves: frozenset | None = None if saves is None else frozenset(saves) - {OUT}
        self.saves_out: bool = saves is None or OUT in saves
        self.lowering: Lowering | None = lowering
        self.view = view
        self.floats = floats
        self.untyped = untyped
        self.owns_gradients = owns_gradients
        self.differentiable = vjps is not None or joint_vjp is not None

    def __repr__(self) -> str:
        return f"Op({self.name})"


class Aval(NamedTuple):
    """Shape and dtype of an array whose values are not kept."""

    shape: tuple
    dtype: np.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Traceable:
    """Base of values that record the operations on them: tensors, on the tape, and symbols, in a program."""

    __slots__ = ()

    @staticmethod
    def _record(op: Op, args: tuple, static: dict) -> Any:
        raise NotImplementedError


def apply(op: Op, args: tuple, static: dict) -> Any:
    """Run `op` on `args`: arrays give an array; a tensor or a symbol records it, and gives its like."""
    for a in args:
        if isinstance(a, Traceable):
            return a._record(op, args, static)
    return on_arrays(op, args, static)


_NUMBERS = frozenset({float, int, bool, np.float32, np.float64})  # what a forward takes as it is
_FRACTIONS = _NUMBERS - {bool}
_FLOATS = frozenset(map(np.dtype, "fd"))


def on_arrays(op: Op, args: tuple, static: dict) -> Any:
    """Run `op` on arrays, NumPy's or Python's numbers, and lists of them."""
    dtypes = _FLOATS if op.floats else KNOWN_DTYPES
    numbers = _FRACTIONS if op.floats else _NUMBERS
    for a in args:  # arrays of known dtypes, the common case, cost one look each
        if (a.dtype not in dtypes) if type(a) is np.ndarray else type(a) not in numbers:
            args = tuple([ready(op, i, a) for i, a in enumerate(args)])
            break
    try:
        return op.forward(*args, **static)
    except (ValueError, TypeError, OverflowError) as e:
        raise explain(op, args, e) from None


def ready(op: Op, i: int, a: Any) -> Any:
    """An argument that is no tensor, as the forward of `op` takes it."""
    if type(a) not in _NUMBERS or type(a) is bool:
        a = as_operand(a, op.name)
    if op.floats and type(a) is np.ndarray and a.dtype.kind != "f" and i not in op.untyped:
        return a.astype(np.float64 if a.itemsize >= 4 else config.get_default_dtype())  # not half precision
    return a


def as_operand(value: Any, name: str) -> np.ndarray:
    """An array of a dtype that tensors can have, from lists of numbers and other array-likes."""
    if isinstance(value, (list, tuple)) and any(isinstance(v, Traceable) for v in value):
        raise DTypeError(f"{name}: got a {type(value).__name__} of tensors, wanted one tensor; join them with stack()")
    if isinstance(value, (list, tuple, float)):  # as NumPy reads them, in float64
        with contextlib.suppress(ValueError):  # as_array() has the words
            value = np.asarray(value)
    return as_array(value, name)


def explain(op: Op, args: Sequence, error: Exception) -> Exception:
    """The error to raise for one of NumPy's: it names the operation, and the shapes or dtypes that it got."""
    if type(error) is ValueError and "broadcast" in str(error):
        shapes = " and ".join(str(np.shape(a)) for a in args)
        return ShapeError(f"{op.name}: got shapes {shapes}, which do not broadcast together")
    # an error in a user's forward is the user's: it is not to be hidden behind words of ours
    ours = op.forward.__module__.startswith("tinygrad_rnn.ops.")
    if ours and isinstance(error, (TypeError, OverflowError)) and not isinstance(error, DTypeError):
        dtypes = " and ".join(str(getattr(a, "dtype", type(a).__name__)) for a in args)
        return DTypeError(f"{op.name}: got {dtypes}, wanted other numbers: {error}")
    return error


class Node:
    """One application of an operation on the tape: saved values, parents, write counters.

    ``parents[i]`` is the node that produced input ``i``, a leaf tensor, or None where no gradient flows.
    ``args`` holds raw arrays where the rules read the values, and otherwise what stands in for them: the
    parent node, or an :class:`Aval`; both know shape and dtype.
    Values are raw arrays, so a node never refers to its own output and graphs are freed without the garbage
    collector's help. ``counters`` holds the write counter of each saved value, inputs first, the result last
    (None: nothing to watch). ``place``, where it was recorded, is set only while anomalies are looked for.
    """

    __slots__ = ("args", "counters", "dtype", "hooks", "op", "out", "parents", "place", "seq", "shape", "static")

    def __init__(
        self,
        op: Op,
        args: tuple,
        static: dict,
        parents: tuple,
        out: Any,
        counters: tuple,
        shape: tuple[int, ...] | None,
        dtype: np.dtype | None,
    ) -> None:
        self.op: Op = op
        self.args: tuple | None = args
        self.static: dict = static
        self.parents: tuple = parents
        self.out = out
        self.counters: tuple = counters
        self.shape: Any = shape  # None, as the dtype, where the operation has several results
        self.dtype: Any = dtype
        self.hooks: list | None = None
        self.seq: int = next(clock)
        self.place: Any

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def name(self) -> str:
        return self.op.name

    def release(self) -> None:
        """Forget saved values, so that memory is freed as the backward walk proceeds."""
        self.args = self.out = None
        self.static = {}
        self.parents = self.counters = ()

    def __repr__(self) -> str:
        return f"Node({self.name}, shape={self.shape})"


class OutputNode(Node):
    """One output of an operation with several; hands its cotangent to their common node, by index."""

    __slots__ = ("index",)

    def __init__(self, bundle: Node, index: int, shape: tuple[int, ...] | None, dtype: np.dtype | None) -> None:
        self.op = bundle.op
        self.args = self.counters = ()
        self.static = {}
        self.parents = (bundle,)
        self.out = self.hooks = None
        self.index = index
        self.shape = shape
        self.dtype = dtype
        self.seq = next(clock)
