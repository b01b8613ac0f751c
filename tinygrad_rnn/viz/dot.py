"""Drawings of tapes and programs as Graphviz DOT text, which ``dot -Tsvg`` renders."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import Tensor, producer
from ..modules.module import Module

HEAD = ["digraph {", '  rankdir="BT"', '  node [fontname="monospace", fontsize=10, shape=box, style=rounded]']


def to_dot(tensor: Tensor, names: Mapping[str, Tensor] | Module | None = None) -> str:
    """The tape behind a tensor: operations as boxes, leaves that require gradients as filled ellipses.

    Parameters
    ----------
    tensor : Tensor
        The result; its graph must not have been freed by a backward walk.
    names : mapping of names to tensors, or Module, optional
        Names for leaves; a module names its parameters.

    Returns
    -------
    str
        DOT text; arrows follow the computation.

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
    pairs = names.named_parameters() if isinstance(names, Module) else (names or {}).items()
    known = {id(t): name for name, t in pairs}
    root: Any = producer(tensor)
    order: dict[int, int] = {id(root): 0}
    nodes, edges, queue = [], [], [root]
    while queue:  # a walk without recursion: sequences are long
        node = queue.pop(0)
        me = order[id(node)]
        if isinstance(node, Tensor):
            label = f"{known.get(id(node), 'leaf')} {node.shape}"
            nodes.append(f"  n{me} [label={_quote(label)}, shape=ellipse, style=filled]")
            continue
        nodes.append(f"  n{me} [label={_quote(f'{node.name} {node.shape}')}]")
        for parent in node.parents:
            if parent is None:
                continue
            if id(parent) not in order:
                order[id(parent)] = len(order)
                queue.append(parent)
            edges.append(f"  n{order[id(parent)]} -> n{me}")
    return "\n".join([*HEAD, *nodes, *edges, "}"])


def program_dot(layer: Any, x: Any = None) -> str:
    """The program of each cell of a recurrent layer: one step, as the compiler sees it.

    Products with parameters are filled boxes; dashed arrows lead from a new state to the state of the next step.

    Parameters
    ----------
    layer : recurrent layer
    x : as in ``layer.explain(x)``
        An example of the input, where a cell has no ``input_size``.

    Returns
    -------
    str
        DOT text, a cluster for each cell. A cell that does not compile is a box with the reason.

    Examples
    --------
    >>> from tinygrad_rnn import nn, viz
    >>> text = viz.program_dot(nn.GRU(3, 4))
    >>> text.count("sigmoid"), text.count("tanh")
    (2, 1)
    """
    lines = list(HEAD)
    for i, report in enumerate(layer.explain(x).cells):
        title = f"{report.where}: {report.cell!r}" if report.where else repr(report.cell)
        lines += [f"  subgraph cluster{i} {{", f"    label={_quote(title)}"]
        if report.step is None:
            lines.append(f"    c{i} [label={_quote(report.reason)}, style=filled]")
        else:
            lines += ["    " + line for line in _program(report.step, f"c{i}")]
        lines.append("  }")
    return "\n".join([*lines, "}"])


def _program(step: Any, prefix: str) -> list[str]:
    traced, printer = step.plan.traced, step.printer
    lines, edges = [], []
    for s in step.values:
        product = s.op.name == "matmul"
        lines.append(f"{prefix}_{s.uid} [label={_quote(printer.expression(s))}{', style=filled' if product else ''}]")
        edges += [f"{prefix}_{a.uid} -> {prefix}_{s.uid}" for a in s.args if getattr(a, "varying", False)]
    for s in (*traced.inputs, *traced.states):
        lines.append(f"{prefix}_{s.uid} [label={_quote(printer.name(s))}, shape=ellipse]")
    for i, y in enumerate(traced.outputs):
        name = step.results[i].split(" = ")[0]
        lines.append(f"{prefix}_y{i} [label={_quote(name)}, shape=ellipse]")
        edges.append(f"{prefix}_{y.uid} -> {prefix}_y{i}")
    for old, new in zip(traced.states, traced.new_states):
        edges.append(f"{prefix}_{new.uid} -> {prefix}_{old.uid} [style=dashed, constraint=false]")
    return lines + edges


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
