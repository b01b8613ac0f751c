"""Drawings of the tape behind a tensor, and of the program of a layer's step."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ..core import Tensor, producer
from ..modules.module import Module
from .drawing import Drawing, Edge, Group, Node


def to_dot(tensor: Tensor, names: Mapping[str, Tensor] | Module | None = None) -> Drawing:
    """The tape behind a tensor: operations as boxes, leaves that require gradients as filled ellipses.

    Parameters
    ----------
    tensor : Tensor
        The result; its graph must not have been freed by a backward walk.
    names : mapping of names to tensors, or Module, optional
        Names for leaves; a module names its parameters.

    Returns
    -------
    Drawing
        DOT text, and in notebooks a picture; arrows follow the computation.

    Examples
    --------
    >>> import tinygrad_rnn as tr
    >>> from tinygrad_rnn import viz
    >>> w = tr.tensor([1.0, 2.0], requires_grad=True)
    >>> print(viz.to_dot((w * w).sum(), {"w": w}))
    digraph {
      rankdir="BT"
      node [fontname="monospace", fontsize=10, shape=box, style=rounded]
      n0 [label="sum ()"]
      n1 [label="multiply (2,)"]
      n2 [label="w (2,)", shape=ellipse, style=filled]
      n1 -> n0
      n2 -> n1
      n2 -> n1
    }
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor: got {type(tensor).__name__}, wanted a Tensor")
    pairs = names.named_parameters() if isinstance(names, Module) else (names or {}).items()
    known = {id(t): name for name, t in pairs}
    root: Any = producer(tensor)
    order: dict[int, int] = {id(root): 0}
    nodes, edges, queue = [], [], deque([root])
    while queue:  # a walk without recursion: sequences are long
        node = queue.popleft()
        me = f"n{order[id(node)]}"
        if isinstance(node, Tensor):
            nodes.append(Node(me, f"{known.get(id(node), 'leaf')} {node.shape}", ellipse=True, filled=True))
            continue
        nodes.append(Node(me, node.name if node.shape is None else f"{node.name} {node.shape}"))
        for parent in node.parents:
            if parent is None:
                continue
            if id(parent) not in order:
                order[id(parent)] = len(order)
                queue.append(parent)
            edges.append(Edge(f"n{order[id(parent)]}", me))
    return Drawing([Group("", nodes, edges)])


def program_dot(layer: Any, x: Any = None) -> Drawing:
    """The program of each cell of a recurrent layer: one step, as the compiler sees it.

    Products with parameters are filled boxes; dashed arrows lead from a new state to the state of the next step.

    Parameters
    ----------
    layer : recurrent layer
    x : as in ``layer.explain(x)``
        An example of the input, where a cell has no ``input_size``.

    Returns
    -------
    Drawing
        DOT text, and in notebooks a picture: a frame for each cell. A cell that does not compile is a box with the
        reason.

    Examples
    --------
    >>> from tinygrad_rnn import nn, viz
    >>> text = viz.program_dot(nn.GRU(3, 4))
    >>> text.count("sigmoid"), text.count("tanh")
    (2, 1)
    """
    if not hasattr(layer, "explain"):
        raise TypeError(f"layer: got {type(layer).__name__}, wanted a recurrent layer; of a cell: nn.Recurrent(cell)")
    groups = []
    for i, report in enumerate(layer.explain(x).cells):
        title = f"{report.where}: {report.cell!r}" if report.where else repr(report.cell)
        if report.step is None:
            groups.append(Group(title, [Node(f"c{i}", report.reason, filled=True)], []))
        else:
            groups.append(_program(report.step, title, f"c{i}"))
    return Drawing(groups)


def _program(step: Any, title: str, prefix: str) -> Group:
    traced, printer = step.plan.traced, step.printer
    nodes, edges = [], []
    for s in step.values:
        nodes.append(
            Node(f"{prefix}_{s.uid}", f"{printer.name(s)} = {printer.expression(s)}", filled=s.op.name == "matmul")
        )
        edges += [Edge(f"{prefix}_{a.uid}", f"{prefix}_{s.uid}") for a in s.args if getattr(a, "varying", False)]
    for s in (*traced.inputs, *traced.states):
        nodes.append(Node(f"{prefix}_{s.uid}", printer.name(s), ellipse=True))
    for i, y in enumerate(traced.outputs):
        nodes.append(Node(f"{prefix}_y{i}", step.results[i].split(" = ")[0], ellipse=True))
        edges.append(Edge(f"{prefix}_{y.uid}", f"{prefix}_y{i}"))
    for old, new in zip(traced.states, traced.new_states):
        edges.append(Edge(f"{prefix}_{new.uid}", f"{prefix}_{old.uid}", back=True))
    return Group(title, nodes, edges)
