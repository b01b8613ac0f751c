"""The backward walk: reverse-mode differentiation over the graph, without recursion.

Cotangents are plain arrays, unless the walk itself is to be recorded (``create_graph``); the rules of the
operations serve both.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import config
from ..errors import DTypeError, GraphError, ShapeError
from .node import PICK, Node


def unbroadcast(g: Any, shape: tuple) -> Any:
    """Sum `g` over the axes along which an input of `shape` was broadcast; works on whatever has ``sum``."""
    if g.shape == shape:
        return g
    lead = len(g.shape) - len(shape)
    if lead > 0:
        g = g.sum(axis=tuple(range(lead)))
    axes = tuple(i for i, n in enumerate(shape) if n == 1 and g.shape[i] != 1)
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    return g


def backward(
    roots, seeds, wrap, *, create_graph: bool, retain_graph: bool, inputs=None, through: bool = True
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
    through : bool
        Whether the walk goes on behind an input, to others that it was computed from; if not, their hooks wait too.

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
        cotangents[key] = cotangents[key] + g if key in cotangents else g

    nodes, leaves = _reach(cotangents)
    wanted = targets = None
    if inputs is not None:
        wanted = {t._node or t for t in inputs}
        for node in nodes if not wanted.issubset({*nodes, *leaves}) else ():
            if node.args is None:  # the way to the inputs may have been there
                raise _freed(node)
        targets = _leading_to(nodes, wanted)
        nodes = [n for n in nodes if n in targets]
    walk = _Walk(cotangents, wrap, create_graph, targets)
    grad_mode = config.grad_mode
    before, grad_mode.enabled = grad_mode.enabled, create_graph  # as set_grad_enabled(), which costs more
    try:
        for node in nodes:
            g = cotangents.get(node)
            if g is None or (not through and node in (wanted or ())):
                continue
            if node.hooks:
                g = cotangents[node] = _run_hooks(node.hooks, g)
            if wanted is None or node not in wanted:
                del cotangents[node]
                walk.owned.discard(node)
            walk.through(node, g)
            if not retain_graph:
                node.release()
    finally:
        grad_mode.enabled = before
    for leaf in leaves if through else ():
        if leaf in cotangents and leaf._hooks:
            cotangents[leaf] = _run_hooks(leaf._hooks, cotangents[leaf])
            walk.owned.discard(leaf)
    if wanted is not None:
        return cotangents
    for leaf in leaves:
        if leaf in cotangents:
            _deposit(leaf, cotangents[leaf], wrap, create_graph, leaf in walk.owned)
    return None


class _Walk:
    """Cotangents in flight: which exist, and which arrays are ours to add to in place."""

    def __init__(self, cotangents: dict, wrap, create_graph: bool, targets: set | None):
        self.cotangents = cotangents
        self.wrap = wrap
        self.create_graph = create_graph
        self.targets = targets  # nodes and leaves worth a cotangent; None: all
        self.owned: set = set()

    def through(self, node: Node, g: Any) -> None:
        """Push the cotangent of a node's output to its inputs."""
        op, parents = node.op, node.parents
        args: Any = node.args
        if args is None:
            raise _freed(node)
        if op is PICK:  # an operation with several outputs gets {index: cotangent}
            bundle = self.cotangents.setdefault(parents[0], {})
            bundle[node.static["index"]] = g
            return
        for counter in node.counters:
            if counter is not None and counter[0] > node.seq:
                raise GraphError(
                    f"backward: a value that {op.name} (shape {node.shape}) saved was overwritten in place; "
                    "write to a copy, or after the backward walk"
                )
        out = node.out
        if self.create_graph:
            args, out = self._tensors(node)
        if self.targets is not None:
            parents = tuple(p if p in self.targets else None for p in parents)
        if op.joint_vjp is not None:
            needs = tuple(p is not None for p in parents)
            gs = op.joint_vjp(g, out, *args, needs=needs, **node.static)
            fresh = op.fresh and not self.create_graph
            for parent, gi in zip(parents, gs, strict=True):
                if parent is not None and gi is not None:
                    new = fresh and parent not in self.cotangents
                    self.add(parent, gi)
                    if new:
                        self.owned.add(parent)
            return
        vjps: Any = op.vjps
        for i, parent in enumerate(parents):
            if parent is not None and vjps[i] is not None:
                self.add(parent, vjps[i](g, out, *args, **node.static))

    def add(self, parent: Any, g: Any) -> None:
        """Add `g`, perhaps still broadcast, to the cotangent of `parent`."""
        if g.dtype is not parent.dtype and g.dtype != parent.dtype:
            raise DTypeError(f"vjp: a rule returned {g.dtype}, wanted {parent.dtype} as the value")
        if g.shape != parent.shape:
            g = unbroadcast(g, parent.shape)
        cotangents = self.cotangents
        before = cotangents.get(parent)
        if before is None:
            cotangents[parent] = g
        elif self.create_graph or type(before) is not np.ndarray:
            cotangents[parent] = before + g
        elif parent in self.owned:
            np.add(before, g, out=before)
        else:
            cotangents[parent] = before + g
            self.owned.add(parent)

    def _tensors(self, node: Node) -> tuple[tuple, Any]:
        """The saved values of `node` as tensors that are still linked to the graph and its write counters."""
        wrap, args = self.wrap, []
        for a, parent, counter in zip(node.args or (), node.parents, node.counters):
            if isinstance(a, np.ndarray):
                if isinstance(parent, Node):
                    a = wrap(a, True, parent, counter)
                elif parent is not None:
                    a = parent
                elif counter is not None:
                    a = wrap(a, False, None, counter)
            args.append(a)
        return tuple(args), None if node.out is None else wrap(node.out, True, node, node.counters[-1])


_ones: dict = {}  # the cotangents of losses


def _seed(root, seed, wrap, create_graph: bool):
    if seed is None:
        if root.size != 1:
            raise ShapeError(f"backward: got an output of shape {root.shape}, wanted a scalar; pass gradient=")
        seed = _ones.get((root.shape, root.dtype))
        if seed is None:
            seed = _ones[root.shape, root.dtype] = np.ones(root.shape, root.dtype)
            seed.flags.writeable = False
        if not create_graph:
            return seed
    tensor = isinstance(seed, wrap)
    values = seed.data if tensor else np.asarray(seed)
    if values.shape != root.shape:
        raise ShapeError(f"gradient: got shape {values.shape}, wanted {root.shape} as the output")
    if values.dtype != root.dtype:
        if tensor:
            raise DTypeError(f"gradient: got {values.dtype}, wanted {root.dtype} as the output")
        values = values.astype(root.dtype)
    if create_graph:
        return seed if tensor else wrap(values)
    return values


def _reach(roots) -> tuple[list[Node], list]:
    """All nodes behind `roots`, latest first (creation order is a topological order), and all leaves."""
    seen, nodes, leaves, stack = set(roots), [], [], list(roots)
    while stack:
        item = stack.pop()
        if isinstance(item, Node):
            nodes.append(item)
            for parent in item.parents:
                if parent is not None and parent not in seen:
                    seen.add(parent)
                    stack.append(parent)
        else:
            leaves.append(item)
    nodes.sort(key=lambda n: n.seq, reverse=True)
    return nodes, leaves


def _leading_to(nodes: list[Node], wanted: set) -> set:
    """The wanted nodes and leaves, and those of `nodes` (latest first) that lead to one."""
    targets = set(wanted)
    for node in reversed(nodes):
        if any(p in targets for p in node.parents if p is not None):
            targets.add(node)
    return targets


def _freed(node: Node) -> GraphError:
    return GraphError(
        f"backward: the graph behind {node.name} was freed by an earlier walk; pass retain_graph=True to that one"
    )


def _run_hooks(hooks: list, g):
    for hook in tuple(hooks):
        out = hook(g)
        if out is not None:
            if out.shape != g.shape:
                raise ShapeError(f"hook: returned shape {out.shape}, wanted {g.shape} as the gradient")
            if out.dtype != g.dtype:
                raise DTypeError(f"hook: returned {out.dtype}, wanted {g.dtype} as the gradient")
            g = out
    return g


def _deposit(leaf, g, wrap, create_graph: bool, owned: bool) -> None:
    if create_graph:
        leaf.grad = g if leaf.grad is None else leaf.grad + g
    elif leaf.grad is None:
        leaf.grad = wrap(g if owned else np.array(g))
    else:
        leaf.grad = wrap(leaf.grad.data + g)


def grad(
    outputs, inputs, grad_outputs=None, *, wrap, create_graph=False, retain_graph=None, allow_unused=False, through=True
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
        outputs, seeds, wrap, create_graph=create_graph, retain_graph=retain, inputs=inputs, through=through
    )
    result: list = []
    for i, t in enumerate(inputs):
        g = found.get(t._node or t)
        if g is None and not allow_unused:
            raise GraphError(f"inputs[{i}]: the outputs do not depend on it; pass allow_unused=True to get None")
        result.append(g if g is None or isinstance(g, wrap) else wrap(np.array(g)))
    return tuple(result)
