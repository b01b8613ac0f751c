"""The backward walk: reverse-mode differentiation over the graph, without recursion.

Cotangents are plain arrays, unless the walk itself is to be recorded (``create_graph``); the rules of the
operations serve both.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from heapq import heappop, heappush
from typing import Any

import numpy as np

from .. import config
from ..errors import DTypeError, GraphError, ShapeError
from .dtype import as_array
from .node import Node, OutputNode
from .walk_errors import freed, overwritten, unfit

ndarray = np.ndarray
_rows: dict = {}  # dtype -> a row of ones
depositing = threading.Lock()  # walks of several threads may add to the gradients of the same leaves
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=depositing.acquire, after_in_parent=depositing.release, after_in_child=depositing.release
    )


def sum_rows(g: Any) -> Any:
    """The sum of the rows of a float matrix; of an array by a product with ones, in half the time."""
    if type(g) is not ndarray:
        return g.sum(axis=0)
    n = len(g)
    ones = _rows.get(g.dtype)
    if ones is None or len(ones) < n:
        ones = _rows[g.dtype] = np.ones(n, g.dtype)
    return ones[:n].dot(g)


def unbroadcast(g: Any, shape: tuple) -> Any:
    """Sum `g` over the axes along which an input of `shape` was broadcast; works on whatever has ``sum``."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    if lead == 1 and len(shape) == 1 and type(g) is ndarray:
        g = sum_rows(g)
    elif lead > 0:
        g = g.sum(axis=tuple(range(lead)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    return g


def backward(
    roots: Sequence,
    seeds: Sequence,
    wrap: Any,
    *,
    create_graph: bool,
    retain_graph: bool,
    inputs: Sequence | None = None,
    past_inputs: bool = True,
) -> dict | None:
    """Walk the graph from `roots` and deposit gradients.

    Parameters
    ----------
    roots, seeds : sequences
        Tensors to differentiate, and their cotangents (None: one, for a single element).
    wrap : type
        The tensor class (this module stands below it).
    create_graph, retain_graph : bool
    inputs : sequence of tensors, optional
        Only these are differentiated, and nothing is added to any ``grad``.
    past_inputs : bool
        Whether the walk goes on past an input, to what that was computed from; if not, its hooks do not run either.

    Returns
    -------
    dict or None
        With `inputs`: cotangent by node or leaf.
    """
    cotangents: dict = {}
    for root, seed in zip(roots, seeds):
        if not root.requires_grad:
            raise GraphError("backward: the output does not depend on any tensor that requires gradients")
        g = _seed(root, seed, wrap, create_graph)
        key = root._node or root
        cotangents[key] = cotangents[key] + g if key in cotangents else g  # an output may be given twice
    wanted = targets = None
    if inputs is not None:
        wanted = {t._node or t for t in inputs}
        targets = _leading_to(cotangents, wanted)
    owned: set = set()
    grad_mode = config.grad_mode
    before, grad_mode.enabled = grad_mode.enabled, create_graph  # as set_grad_enabled(), which costs more
    watch = grad_mode.anomaly
    try:
        leaves = _walk(
            cotangents, owned, wrap if create_graph else None, retain_graph, wanted, targets, past_inputs, watch
        )
    finally:
        grad_mode.enabled = before
        if watch is not None:
            watch.within = None
    for leaf in leaves if past_inputs else ():
        if leaf._hooks:
            cotangents[leaf] = _run_hooks(leaf._hooks, cotangents[leaf])
            owned.discard(leaf)
    if wanted is not None:
        return cotangents
    with depositing:
        for leaf in leaves:
            g, grad = cotangents[leaf], leaf.grad
            if create_graph:
                leaf.grad = g * 1 if grad is None else grad + g  # a tensor of its own: `g` may be that of others too
            elif grad is not None:
                if not isinstance(grad, wrap):
                    raise TypeError(f"grad: got {type(grad).__name__}, wanted a Tensor or None")
                leaf.grad = wrap(np.asarray(grad._array + g))  # of arrays of shape () NumPy makes a number
            else:
                leaf.grad = wrap(g if leaf in owned and type(g) is ndarray else np.array(g))
    return None


def _walk(
    cotangents: dict,
    owned: set,
    wrap: Any,
    retain_graph: bool,
    wanted: set | None,
    targets: set | None,
    past_inputs: bool,
    watch: Any,
) -> list:
    """Carry cotangents from node to node, latest first; returns the leaves that were reached.

    Parameters
    ----------
    cotangents : dict
        By node or leaf: at first those of the roots, at last those of the leaves and of `wanted`.
    owned : set
        Filled with the nodes and leaves whose cotangents are arrays of the walk's own, to add to in place.
    wrap : type or None
        The tensor class, if the walk is recorded.
    wanted : set or None
        Nodes and leaves whose cotangents are kept; the walk goes on past them if `past_inputs`.
    targets : set or None
        Nodes and leaves worth a cotangent; None: all.
    watch : Watch or None
        Looks for anomalies, inside :class:`~tinygrad_rnn.core.anomaly.detect_anomaly`.
    """
    # One body, long as it is: a call for each node would show, as an operation takes some 2 us in all.
    leaves: list = []
    queue: list = []  # latest first: creation order is a topological order
    for item in cotangents if targets is None else targets.intersection(cotangents):
        if isinstance(item, Node):
            heappush(queue, (-item.seq, item))
        else:
            leaves.append(item)
    while queue:
        node = heappop(queue)[1]
        if wanted is None or node not in wanted:
            g = cotangents.pop(node)  # its memory is freed as the walk goes on
            if node.hooks:
                g = _run_hooks(node.hooks, g)
        elif past_inputs:
            g = cotangents[node]
            if node.hooks:
                g = cotangents[node] = _run_hooks(node.hooks, g)
        else:
            continue
        op, parents, args, out, static = node.op, node.parents, node.args, node.out, node.static
        if args is None:
            raise freed(node)
        if targets is not None:
            parents = [p if p in targets else None for p in parents]
        if type(node) is OutputNode:  # waits at the common node, which is older, for those of the other results
            bundle = parents[0]
            if bundle in cotangents:
                cotangents[bundle][node.index] = g
            elif bundle is not None:
                cotangents[bundle] = {node.index: g}
                heappush(queue, (-bundle.seq, bundle))
            if not retain_graph:
                node.release()
            continue
        for counter in node.counters:
            if counter is not None and counter[0] > node.seq:  # times of one clock: written to after it was saved
                raise overwritten(node)
        if wrap is not None:
            args, out = _tensors(node, wrap)
            if watch is not None:
                watch.enter_rule(node)
        joint = op.joint_vjp is not None
        rules: Any = op.vjps
        if joint:
            rules = op.joint_vjp(g, out, *args, needs=tuple([p is not None for p in parents]), **static)
        if len(rules) != len(parents):
            raise GraphError(f"vjp: {op.name} has rules for {len(rules)} inputs, wanted {len(parents)}")
        new_arrays = op.owns_gradients and wrap is None
        for parent, rule in zip(parents, rules):
            if parent is None or rule is None:
                continue
            new = rule if joint else rule(g, out, *args, **static)
            if type(new) is not ndarray and not hasattr(new, "dtype"):
                raise unfit(node, rules, rule, new, parent)
            if new.dtype is not parent.dtype and new.dtype != parent.dtype:  # identity first, as it costs less
                raise unfit(node, rules, rule, new, parent)
            if watch is not None:
                watch.gradient(node, parent, g, new)
            if new.shape != parent.shape:
                if not _reaches(parent.shape, new.shape):
                    raise unfit(node, rules, rule, new, parent)
                new = unbroadcast(new, parent.shape)
                if watch is not None:
                    watch.gradient(node, parent, g, new)
            before = cotangents.get(parent)
            if watch is not None and before is not None:
                watch.total(node, before, new)
            if before is None:
                cotangents[parent] = new
                if new_arrays:
                    owned.add(parent)
                if isinstance(parent, Node):
                    heappush(queue, (-parent.seq, parent))
                else:
                    leaves.append(parent)
            elif parent in owned and type(before) is ndarray:  # nobody else sees the array
                np.add(before, new, out=before)
            else:
                cotangents[parent] = before + new
                if wrap is None:
                    owned.add(parent)
        if not retain_graph:
            node.release()
    return leaves


def _tensors(node: Node, wrap: Any) -> tuple[Sequence, Any]:
    """The saved arguments and result of `node` as tensors, linked to the graph and its write counters."""
    args: list = []
    for a, parent, counter in zip(node.args or (), node.parents, node.counters):
        if isinstance(a, np.ndarray):
            if isinstance(parent, Node):
                a = wrap(a, True, parent, counter)
            elif parent is not None:
                a = parent
            elif counter is not None:
                a = wrap(a, False, None, counter)
        args.append(a)
    return args, None if node.out is None else wrap(node.out, True, node, node.counters[-1])


_ones: dict = {}  # the cotangents of losses


def _seed(root: Any, seed: Any, wrap: Any, create_graph: bool) -> Any:
    """The cotangent that the walk begins with: as given, checked, or one for a scalar."""
    if seed is None:
        shape, dtype = root.data.shape, root.data.dtype
        seed = _ones.get((shape, dtype))
        if seed is None:
            if root.size != 1:
                raise ShapeError(f"backward: got an output of shape {shape}, wanted a scalar; pass gradient=")
            seed = _ones[shape, dtype] = np.ones(shape, dtype)
            seed.flags.writeable = False
        if not create_graph:
            return seed
    tensor = isinstance(seed, wrap)
    values = seed.data if tensor else as_array(seed, "gradient", narrow=True, dtype=root.dtype)
    if values.shape != root.shape:
        raise ShapeError(f"gradient: got shape {values.shape}, wanted {root.shape} as the output")
    if values.dtype != root.dtype:
        if tensor:
            raise DTypeError(f"gradient: got {values.dtype}, wanted {root.dtype} as the output")
        values = values.astype(root.dtype)
    if create_graph:
        return seed if tensor else wrap(values)
    return values


def _leading_to(roots: Iterable, wanted: set) -> set:
    """The wanted nodes and leaves, and all ancestors of `roots` on a path to one."""
    seen, nodes, stack = set(roots), [], list(roots)
    while stack:
        item = stack.pop()
        if isinstance(item, Node):
            nodes.append(item)
            for parent in item.parents:
                if parent is not None and parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
    if not wanted <= seen:
        for node in nodes:
            if node.args is None:  # the way to the inputs may have been there
                raise freed(node)
    targets = set(wanted)
    nodes.sort(key=lambda n: n.seq)
    for node in nodes:
        if any(p in targets for p in node.parents if p is not None):
            targets.add(node)
    return targets


def _reaches(shape: tuple, wide: tuple) -> bool:
    """Whether an array of `shape` broadcasts to the shape `wide`."""
    lead = len(wide) - len(shape)
    return lead >= 0 and all(n in (1, m) for n, m in zip(shape, wide[lead:]))


def _run_hooks(hooks: list, g: Any) -> Any:
    for hook in tuple(hooks):
        out = hook(g)
        if out is not None:
            if out.shape != g.shape:
                raise ShapeError(f"hook: returned shape {out.shape}, wanted {g.shape} as the gradient")
            if out.dtype != g.dtype:
                raise DTypeError(f"hook: returned {out.dtype}, wanted {g.dtype} as the gradient")
            g = out
    return g


def grad(
    outputs: Sequence,
    inputs: Sequence,
    grad_outputs: Sequence | None = None,
    *,
    wrap: Any,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    allow_unused: bool = False,
    past_inputs: bool = True,
) -> tuple:
    """Gradients of `outputs` with respect to `inputs`; see :func:`tinygrad_rnn.grad`."""
    retain = create_graph if retain_graph is None else retain_graph
    for i, t in enumerate(inputs):
        if not t.requires_grad:
            raise GraphError(f"inputs[{i}]: this tensor does not require gradients")
    seeds = [None] * len(outputs) if grad_outputs is None else grad_outputs
    if len(seeds) != len(outputs):
        raise ShapeError(f"grad_outputs: got {len(seeds)}, wanted {len(outputs)}, one for each output")
    found: Any = backward(
        outputs, seeds, wrap, create_graph=create_graph, retain_graph=retain, inputs=inputs, past_inputs=past_inputs
    )
    result: list = []
    for i, t in enumerate(inputs):
        g = found.get(t._node or t)
        if g is None and not allow_unused:
            raise GraphError(f"inputs[{i}]: the outputs do not depend on it; pass allow_unused=True to get None")
        result.append(g if g is None or isinstance(g, wrap) else wrap(np.array(g)))
    return tuple(result)
