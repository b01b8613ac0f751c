"""The tensor: a NumPy array with the graph node that produced it, and the recording of operations."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .. import config
from ..checks import flag
from ..errors import DTypeError, GraphError
from .backward import backward as run_backward
from .conversion import Convertible
from .dtype import as_array, promote
from .inplace import values_of
from .node import Aval, Node, Op, OutputNode, Traceable, explain

ndarray = np.ndarray
grad_mode = config.grad_mode


class Tensor(Convertible):
    """An n-dimensional array on the tape; make one with :func:`tensor`.

    Attributes
    ----------
    data : numpy.ndarray
        The values. ``t.data = v`` and ``t.data -= v`` count as in-place writes; what is written into the array
        by hand bypasses the graph's bookkeeping: use :meth:`copy_` or ``t[...] = v``.
    requires_grad : bool
        Whether gradients flow to this tensor.
    grad : Tensor or None
        The accumulated gradient, filled by :meth:`backward` for leaves.
    """

    __slots__ = ("__weakref__", "_array", "_counter", "_hooks", "_node", "grad", "requires_grad")

    grad: Tensor | None

    def __init__(
        self, data: ndarray, requires_grad: bool = False, node: Node | None = None, counter: list[int] | None = None
    ) -> None:
        self._array = data
        self.requires_grad = requires_grad
        self._node = node
        self._counter = counter or [0]  # clock time of the last in-place write; shared with views
        self.grad = None
        self._hooks: list | None = None

    def _set_data(self, value: Any) -> None:
        self._array = self._as_data(value)
        self.touch()

    # ---- recording

    @staticmethod
    def _record(op: Op, args: tuple, static: dict) -> Any:
        """Apply an operation to tensors and arrays, and link the result to the tape if gradients are wanted."""
        if grad_mode.tracer is not None:  # tensors from outside of a traced step are captured by its program
            return grad_mode.tracer.record(op, args, static)
        arrays = []
        needs = plain = False
        dtype: Any = None
        for a in args:
            if isinstance(a, Tensor):
                d = a._array
                arrays.append(d)
                if a.requires_grad:
                    needs = True
                if dtype is None:
                    dtype = d.dtype
                elif d.dtype is not dtype:  # there is one object for each, so that identity tells nearly always
                    plain = True
            elif isinstance(a, Traceable):
                return a._record(op, args, static)
            else:
                arrays.append(a)
                if type(a) is not float and type(a) is not int:  # these take any dtype
                    plain = True
        if plain or dtype.kind != "f":  # dtypes to reconcile: off the fast path
            arrays = promote(op, arrays, [isinstance(a, Tensor) for a in args])
        try:
            out = op.forward(*arrays, **static)
        except (ValueError, TypeError, OverflowError) as e:
            raise explain(op, arrays, e) from None
        if type(out) is not ndarray and type(out) is not tuple:
            out = np.asarray(out)
        if needs and op.differentiable and grad_mode.enabled:
            return link(op, args, arrays, static, out)
        if type(out) is tuple:
            outputs = map(np.asarray, out)
            return tuple([Tensor(o, False, None, _shared(op, args, o) if op.view else None) for o in outputs])
        return Tensor(out, False, None, _shared(op, args, out) if op.view else None)

    # ---- what it is

    # read so often that the detour through a function in Python would show
    if TYPE_CHECKING:

        @property
        def data(self) -> ndarray: ...
        @data.setter
        def data(self, value: Any) -> None: ...

    else:
        data = property(attrgetter("_array"), _set_data, doc="The values, an array.")
    shape = cast(tuple[int, ...], property(attrgetter("_array.shape"), doc="The length of each axis."))
    dtype = cast(
        np.dtype,
        property(attrgetter("_array.dtype"), doc="The dtype of the elements."),
    )
    ndim = cast(int, property(attrgetter("_array.ndim"), doc="The number of axes."))
    size = cast(int, property(attrgetter("_array.size"), doc="The number of elements."))

    @property
    def is_leaf(self) -> bool:
        """Whether this tensor was made by hand rather than computed from tensors that require gradients."""
        return self._node is None

    # ---- gradients

    def backward(
        self,
        gradient: Tensor | ndarray | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
    ) -> None:
        """Add the gradient of this tensor to ``grad`` of every leaf that it depends on.

        Parameters
        ----------
        gradient : Tensor or array, optional
            The cotangent, shaped as this tensor; may be left out for a single element.
        retain_graph : bool, optional
            Keep what the graph saved, for a second walk. Default: as `create_graph`.
        create_graph : bool
            Record the walk itself, so that the gradients can be differentiated.

        Raises
        ------
        GraphError
            If nothing here requires gradients, the graph was freed, or a saved value was overwritten.
        ShapeError
            If `gradient` has another shape.
        """
        retain = create_graph if retain_graph is None else retain_graph
        run_backward([self], [gradient], Tensor, create_graph=create_graph, retain_graph=retain)

    def detach(self) -> Tensor:
        """The same values (and memory) outside the graph."""
        if grad_mode.tracer is not None:
            return grad_mode.tracer.detach(self)
        return Tensor(self._array, False, None, self._counter)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Switch gradients of a leaf on or off, in place."""
        if self._node is not None:
            raise GraphError("requires_grad_: got a tensor computed by the graph, wanted a leaf; use detach()")
        requires_grad = flag("requires_grad", requires_grad)
        if requires_grad:
            check_differentiable(self._array)
        self.requires_grad = requires_grad
        return self

    def retain_grad(self) -> None:
        """Keep the gradient of a computed tensor in ``grad``, as for a leaf: what is left after all hooks."""
        if not self.requires_grad:
            raise GraphError("retain_grad: this tensor does not require gradients")
        if self._node is not None:
            if self._node.hooks is None:
                self._node.hooks = []
            if not any(isinstance(h, _Keep) and h.tensor() is self for h in self._node.hooks):
                self._node.hooks.append(_Keep(self))

    def register_hook(self, hook: Callable) -> Any:
        """Call ``hook(grad)`` with this tensor's gradient during the backward walk.

        Parameters
        ----------
        hook : callable
            Takes the gradient as a Tensor; what it returns replaces the gradient, None leaves it.

        Returns
        -------
        callable
            Call it to remove the hook.
        """
        if not self.requires_grad:
            raise GraphError("register_hook: this tensor does not require gradients")
        if not callable(hook):
            raise TypeError(f"hook: got {type(hook).__name__}, wanted a callable")

        def on_tensor(g: Any) -> Any:
            out = hook(g if isinstance(g, Tensor) else Tensor(np.array(g)))
            if out is None:
                return None
            if not isinstance(out, Tensor):
                out = Tensor(as_array(out, "hook", narrow=True, dtype=g.dtype).astype(g.dtype, copy=False))
            return out if isinstance(g, Tensor) else out._array

        hooks = self._add_hook(on_tensor)
        return lambda: hooks.remove(on_tensor) if on_tensor in hooks else None

    def _add_hook(self, hook: Callable) -> list:
        owner: Any = self if self._node is None else self._node
        attribute = "_hooks" if owner is self else "hooks"
        if getattr(owner, attribute) is None:
            setattr(owner, attribute, [])
        hooks = getattr(owner, attribute)
        hooks.insert(sum(not isinstance(h, _Keep) for h in hooks), hook)
        return hooks


class Borrowed(list):
    """The write counter of a tensor whose memory the caller holds as an array, and may write to."""

    __slots__ = ()


class _Keep:
    """The hook of :meth:`Tensor.retain_grad`; runs after all others."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = weakref.ref(tensor)  # a strong reference would make a cycle through the node

    def __call__(self, g: Any) -> None:
        tensor = self.tensor()
        if tensor is not None:
            value = g if isinstance(g, Tensor) else Tensor(np.array(g))
            tensor.grad = value if tensor.grad is None else tensor.grad + value


def link(op: Op, args: tuple, arrays: Sequence, static: dict, out: Any) -> Any:
    """The outputs of `op` as tensors of the graph, with the node that holds what its rules need."""
    parents: list = []
    counters: list = []
    saves = op.saves
    arrays = list(arrays)
    for i, a in enumerate(args):
        parent = counter = None
        if isinstance(a, Tensor):
            counter = a._counter
            if a.requires_grad:
                parent = a._node or a
        array = arrays[i]
        if saves is not None and i not in saves:  # what the rules do not read is not kept, nor watched
            counter = None
            if isinstance(parent, Node):  # which knows shape and dtype
                arrays[i] = parent
            elif isinstance(array, ndarray):
                arrays[i] = Aval(array.shape, array.dtype)
        elif parent is None and (counter is None or type(counter) is Borrowed) and isinstance(array, ndarray):
            counter = None  # memory of the caller, who may write to it without a word
            if array is values_of(a) or not array.flags.owndata:
                arrays[i] = array.copy()
        parents.append(parent)
        counters.append(counter)
    if type(out) is tuple:
        # one node for the operation, where the cotangents of all results come together, and one for each result
        bundle = Node(op, tuple(arrays), static, tuple(parents), None, tuple(counters), None, None)
        return tuple([_output(bundle, i, o, _shared(op, args, o) if op.view else None) for i, o in enumerate(out)])
    if out.dtype.kind != "f":  # a cast to integers ends the graph
        return Tensor(out)
    counter = (_shared(op, args, out) if op.view else None) or [0]  # a write through one view is seen by all
    saved = None
    if op.saves_out:
        saved = out
        counters.append(counter)
    node = Node(op, tuple(arrays), static, tuple(parents), saved, tuple(counters), out.shape, out.dtype)
    return Tensor(out, True, node, counter)


def producer(t: Tensor) -> Node | Tensor:
    """The node that has produced a tensor, or the tensor itself if it is a leaf."""
    return t._node or t


def version_counter(t: Tensor) -> list[int]:
    """The counter, a list of one number, of writes to the memory of a tensor, which its views share."""
    return t._counter


def _output(bundle: Node, index: int, array: ndarray, counter: list[int] | None) -> Tensor:
    if type(array) is not ndarray:
        array = np.asarray(array)
    if array.dtype.kind != "f":
        return Tensor(array, False, None, counter)
    return Tensor(array, True, OutputNode(bundle, index, array.shape, array.dtype), counter)


def _shared(op: Op, args: tuple, out: ndarray) -> list[int] | None:
    """The write counter of the first input of `op`, which gives views, if `out` is a view of it."""
    if not isinstance(args[0], Tensor):
        return None
    base, first = out.base, args[0]._array
    shared = base is first or out is first or (base is not None and np.may_share_memory(first, out))
    return args[0]._counter if shared else None


def check_differentiable(array: ndarray) -> None:
    if array.dtype.kind != "f":
        raise DTypeError(f"requires_grad: got a {array.dtype} tensor, wanted float32 or float64")
