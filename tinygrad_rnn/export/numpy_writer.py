"""The text of an exported NumPy file: weights, a function for each layer's step, and the model."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence

import numpy as np

from ..core import tree
from . import numpy_functions
from .graph import Constant, Graph, Node, Parameter, Scan, Step, Value, order
from .numpy_block import RESERVED, Block, Written, clean
from .numpy_table import Text, setting
from .numpy_text import bare, describe, is_constant, mentions, nest, one_line, plain, reads
from .source_names import step_names
from .streaming import Stream


class Writer:
    """Writes one graph as a module.

    Parameters
    ----------
    graph : Graph
    module : str
        The name of the file, without its ending.

    Attributes
    ----------
    arrays : dict
        What belongs into the file of weights, by name.
    """

    def __init__(self, graph: Graph, module: str):
        self.graph, self.module = graph, module
        self.arrays: dict[str, np.ndarray] = {}
        self.outer: dict[int, Written] = {}
        self.reserved: set[str] = {"forward", "step", "initial_state", *vars(numpy_functions), *graph.sizes, "t"}
        self.calls: set[str] = set()
        self.functions: dict[int, str] = {}  # of the steps of layers
        self.sizes: dict[int, list[str]] = {}  # that these are given, as their arguments do not show them
        self.parts: list[str] = []

    def text(self, made: Stream | None = None) -> str:
        """All of the module; with the model for one time step, if given."""
        weights = self._weights()
        constants = self._constants()
        functions = [self._function(scan) for scan in self.graph.scans()]
        functions.append(self._model(self.graph, "forward"))
        if made is not None:
            functions += [self._initial_state(made), self._stream(made)]
        helpers = self._helpers()
        head = self._head(made)
        blocks = [head, weights, *helpers, constants, *functions]
        return "\n\n\n".join(block.strip("\n") for block in blocks if block.strip()) + "\n"

    # ---- parts of the file

    def _head(self, made: Stream | None) -> str:
        lines = [
            f'"""{plain(self.graph.title)}, exported by tinygrad_rnn: it needs NumPy, and {self.module}.npz beside it.',
            "",
        ]
        lines += ["forward() takes", *(f"    {clean(v.name)}: {describe(v)}" for v in self.graph.inputs), "and returns"]
        lines += [f"    {describe(v)}" for v in self.graph.outputs]
        sizes = ", ".join(f"{name} is axis {axis} of {clean(v.name)}" for name, (v, axis) in self.graph.sizes.items())
        lines += ["", f"Any size will do where there is a letter: {sizes}."] if sizes else []
        if made is not None:
            lines += ["", "As a stream, one time step after the other:", "", *self._use(made)]
        return "\n".join([*lines, '"""', "", "from pathlib import Path", "", "import numpy as np"])

    def _use(self, made: Stream) -> list[str]:
        """How to run it as a stream."""
        names = ", ".join(clean(v.name) for v in made.graph.inputs[: self._given(made)])
        if not made.first:
            return [f"    ... = step({names})"]
        return ["    state = initial_state(B)", f"    ..., state = step({names}, state)"]

    def _given(self, made: Stream) -> int:
        """How many inputs of a stream are not states of layers."""
        return len(made.graph.inputs) - len(made.first)

    def _weights(self) -> str:
        lines = []
        for v in self.graph.values():
            if isinstance(v, Parameter | Constant):
                key = v.name if isinstance(v, Parameter) else f"constant{len(self.arrays)}"
                self.arrays[key] = v.array
                name = self._global(key)
                self.outer[id(v)] = Written(Text(name))
                lines.append(f"    {name} = weights[{json.dumps(key)}]  # {setting(v.shape)}")
        if not lines:
            return ""
        return "\n".join(['with np.load(Path(__file__).with_suffix(".npz")) as weights:', *lines]) + "\n"

    def _global(self, hint: str) -> str:
        name, n = clean(hint), 2
        while name in self.reserved or name in RESERVED:
            name, n = f"{clean(hint)}_{n}", n + 1
        self.reserved.add(name)
        return name

    def _constants(self) -> str:
        """What is computed of weights alone, once."""
        found: set[int] = set()
        nodes = []
        for node in self.graph.nodes:
            if not isinstance(node, Scan) and is_constant(node, found):
                nodes.append(node)
                found |= set(map(id, node.results))
        block = Block(self.outer, self.reserved, "")
        ends = [v for scan in self.graph.scans() for v in (*scan.step_outputs, *scan.new_states)]
        block.expect(list(self.graph.all_nodes()), lambda node: node.operands, [*self.graph.outputs, *ends])
        for node in nodes:
            block.write(node)
        self.calls |= block.calls
        self.outer |= block._known
        self.reserved |= set(block._owner)
        return "\n".join(block.lines)

    def _helpers(self) -> list[str]:
        return [inspect.getsource(getattr(numpy_functions, name)) for name in sorted(self.calls)]

    # ---- the step of a layer

    def _function(self, scan: Scan) -> str:
        path = self._path(scan)
        name = self.functions[id(scan)] = self._global(f"step_{path}" if path else "step_of_cell")
        block = Block(self.outer, self.reserved)
        block.expect(scan.body, reads, [*scan.step_outputs, *scan.new_states])
        xs, hs = step_names(scan.cell, len(scan.step_inputs), len(scan.step_states))
        given = [block.define(v, hint) for v, hint in zip(scan.step_inputs, xs)]
        given += [block.define(v, hint) for v, hint in zip(scan.step_states, hs)]
        given += [block.define(v, "other") for v in self.extras(scan)]
        title = f"of {plain(path)}, " if path else ""
        block.say(f'"""One time step {title}{one_line(scan.cell)}."""')
        self._write(block, scan.body, path)
        results = [*scan.step_outputs, *scan.new_states]
        text = "\n".join([*block.lines[1:], *(block.code(v) for v in results)])
        used = [n for n in self.graph.sizes if mentions(text, n)]
        if str(scan.batch) in used:
            block.lines.insert(1, f"    {scan.batch} = {given[0]}.shape[0]")
        self.sizes[id(scan)] = [n for n in used if n != str(scan.batch)]
        given += self.sizes[id(scan)]
        block.say(f"return {', '.join(block.code(v) for v in results)}")
        self.calls |= block.calls
        return "\n".join([f"def {name}({', '.join(given)}):", *block.lines])

    def extras(self, scan: Scan) -> list[Value]:
        """What the steps read of the model besides inputs and states: known only where it runs."""
        return [v for v in scan.invariants if id(v) not in self.outer]

    def _path(self, scan: Scan) -> str:
        paths = [path for path, module in self.graph.modules.items() if module is scan.cell]
        return paths[0] if paths else scan.module

    # ---- the model

    def _model(self, graph: Graph, name: str) -> str:
        block = Block(self.outer, self.reserved)
        nodes = [node for node in graph.nodes if not all(id(r) in self.outer for r in node.results)]
        block.expect(nodes, self._reads, graph.outputs)
        parameters = [block.define(v, v.name) for v in graph.inputs]
        for v, parameter in zip(graph.inputs, parameters):
            dtype = f", {setting(v.dtype)}" if v.dtype.kind == "f" else ""
            block.say(f"{parameter} = np.asarray({parameter}{dtype})")
        start = len(block.lines)
        self._write(block, nodes, "")
        result = nest(graph.structure, [block.code(v) for v in graph.outputs])
        block.say(
            f"return {bare(result) if graph.structure is not tree.LEAF and graph.structure[0] is tuple else result}"
        )
        sizes = self._sizes(graph, parameters, "\n".join(block.lines[start:]))
        block.lines[start:start] = [f"    {line}" for line in sizes]
        self.calls |= block.calls
        title = f'    """{plain(graph.title)}."""'
        return "\n".join([f"def {name}({', '.join(parameters)}):", title, *block.lines])

    def _initial_state(self, made: Stream) -> str:
        """The function of the first states; none if the model's arguments give them."""
        if not made.first:
            return ""
        block = Block(self.outer, self.reserved - {"B"})
        nodes = [node for node in order(made.first, None) if not all(id(r) in self.outer for r in node.results)]
        block.expect(nodes, reads, made.first)
        block.say('"""The state before the first time step, for B rows."""')
        self._write(block, nodes, "")
        block.say(f"return {nest((tuple, None, (tree.LEAF,) * len(made.first)), [block.code(v) for v in made.first])}")
        self.calls |= block.calls
        return "\n".join(["def initial_state(B):", *block.lines])

    def _stream(self, made: Stream) -> str:
        """The function of one time step."""
        n = self._given(made)
        block = Block(self.outer, self.reserved)
        nodes = [node for node in made.graph.nodes if not all(id(r) in self.outer for r in node.results)]
        block.expect(nodes, reads, made.graph.outputs)
        parameters = [block.define(v, v.name) for v in made.graph.inputs[:n]]
        block.say(f'"""One time step of {plain(self.graph.title)}."""')
        for v, parameter in zip(made.graph.inputs, parameters):
            dtype = f", {setting(v.dtype)}" if v.dtype.kind == "f" else ""
            block.say(f"{parameter} = np.asarray({parameter}{dtype})")
        states = [block.define(v, v.name) for v in made.graph.inputs[n:]]
        if states:
            parameters.append("state")
            block.say(f"{', '.join(states)}{',' * (len(states) == 1)} = state")
        start = len(block.lines)
        self._write(block, nodes, "")
        codes = [block.code(v) for v in made.graph.outputs]
        result = nest(self.graph.structure, codes[: made.outputs])
        if made.first:
            result = f"{result}, {nest((tuple, None, (tree.LEAF,) * len(states)), codes[made.outputs :])}"
        block.say(f"return {result}")
        sizes = self._sizes(made.graph, parameters, "\n".join(block.lines[start:]))
        block.lines[start:start] = [f"    {line}" for line in sizes]
        self.calls |= block.calls
        return "\n".join([f"def step({', '.join(parameters)}):", *block.lines])

    def _call(self, block: Block, step: Step) -> None:
        """One time step of a layer."""
        scan, extras = step.scan, self.extras(step.scan)
        n = len(scan.step_inputs) + len(scan.step_states)
        args = [*step.args[:n], *(step.replaced[id(v)] for v in extras)]
        codes = [block.code(a) for a in args] + self.sizes[id(scan)]
        block.done(*step.operands)
        names = step_names(scan.cell, len(scan.step_inputs), len(scan.step_states))[1]
        hints = ["y"] * len(scan.step_outputs) + names
        targets = [block.define(r, hint) for r, hint in zip(step.results, hints)]
        call = f"{self.functions[id(scan)]}({', '.join(codes)})"
        block.say(f"{', '.join(targets)} = {call}" if targets else call)

    def _reads(self, node: Node) -> Sequence[Value]:
        return [*node.operands, *self.extras(node)] if isinstance(node, Scan) else node.operands

    def _sizes(self, graph: Graph, parameters: Sequence[str], text: str) -> list[str]:
        lines, places = [], {id(v): p for v, p in zip(graph.inputs, parameters)}
        used = {n: (places[id(v)], axis) for n, (v, axis) in graph.sizes.items() if mentions(text, n)}
        for owner in dict.fromkeys(owner for owner, _ in used.values()):
            names = {axis: n for n, (o, axis) in used.items() if o == owner}
            if sorted(names) == [0, 1]:
                lines.append(f"{names[0]}, {names[1]} = {owner}.shape[:2]")
            else:
                lines += [f"{n} = {owner}.shape[{axis}]" for axis, n in sorted(names.items())]
        return lines

    def _write(self, block: Block, nodes: Sequence[Node], module: str) -> None:
        """Statements, with a comment where another module begins."""
        for node in nodes:
            if isinstance(node, Step):
                self._call(block, node)
            elif node.module != module and not isinstance(node, Scan):
                before = len(block.lines)
                block.write(node)
                if len(block.lines) > before and node.module:
                    block.lines.insert(
                        before, f"{block.indent}# {plain(node.module)}: {one_line(self.graph.modules[node.module])}"
                    )
                module = node.module if len(block.lines) > before else module
            elif isinstance(node, Scan):
                self._loop(block, node)
                module = node.module
            else:
                block.write(node)

    def _loop(self, block: Block, scan: Scan) -> None:
        """A loop over time."""
        path, function = self._path(scan), self.functions[id(scan)]
        way = "backwards" if scan.reverse else "forwards"
        if block.lines and block.lines[-1]:
            block.say("")
        block.say(f"# {plain(path) or 'the layer'}: {one_line(scan.cell)}, {way} in time")
        names = step_names(scan.cell, len(scan.step_inputs), len(scan.step_states))[1]
        first = [block.code(s) for s in scan.states]
        resets = [block.code(s) for s in scan.reset_states]
        time = setting(scan.time)
        valid, reset = self._steps(block, scan, time)
        if reset and not resets:
            resets = [block.name("first") for _ in first]
            if resets:
                block.say(f"{', '.join(resets)} = {', '.join(first)}")
                first = resets
        axis = 1 - scan.batch_axis
        lead = ":, " * axis
        xs = [f"{block.code(x)}[{lead}t]" for x in scan.inputs]
        extras = [block.code(v) for v in self.extras(scan)] + self.sizes[id(scan)]
        states = [block.define(r, hint) for r, hint in zip(scan.final_states, names)]
        lists = [block.name("outputs") for _ in scan.outputs]
        if states and states != first:
            block.say(f"{', '.join(states)} = {', '.join(first)}")
        for name in lists:
            block.say(f"{name} = [None] * {time if time.isalnum() else f'({time})'}")
        block.say(f"for t in {f'reversed(range({time}))' if scan.reverse else f'range({time})'}:")
        inner = lambda line: block.say(f"    {line}")
        if reset:
            cut = "t + 1" if scan.reverse else "t"
            if scan.reverse:
                inner(f"if t + 1 < {time}:")
            for state, other in zip(states, resets):
                inner(f"{'    ' * scan.reverse}{state} = where_rows({reset}[{cut}], {other}, {state})")
            if scan.reverse and not states:
                inner("    pass")
        news = states
        if valid:
            news = [block.name(f"new_{s}") for s in states]
            block.calls.add("where_rows")
        call = f"{function}({', '.join([*xs, *states, *extras])})"
        targets = [f"{name}[t]" for name in lists] + news
        inner(f"{', '.join(targets)} = {call}" if targets else call)
        if valid:
            for name in lists:
                inner(f"{name}[t] = where_rows({valid}[t], {name}[t], 0)")
            for state, new in zip(states, news):
                inner(f"{state} = where_rows({valid}[t], {new}, {state})")
        block.done(*scan.operands, *self.extras(scan))
        for name, result in zip(lists, scan.outputs):
            if block._users.get(id(result)):
                block.say(f"{block.define(result, 'ys' if len(lists) == 1 else name)} = np.stack({name}, axis={axis})")

    def _steps(self, block: Block, scan: Scan, time: str) -> tuple[str, str]:
        """Names of the steps that count and of those with a reset before them, (T, B); "" if there are none."""
        turned = lambda v: f"{block.code(v)}.T" if scan.batch_first else block.code(v)
        steps, valid, reset = scan.steps, "", ""
        if "lengths" in steps:
            valid = within = block.name("valid")
            block.say(f"{valid} = np.arange({time})[:, None] < {block.code(steps['lengths'])}  # (T, B)")
        if "resets" in steps:
            reset = block.name("resets_now")
            also = f" & {within}" if valid else ""
            block.say(f"{reset} = {turned(steps['resets'])}{also}")
            block.calls.add("where_rows")
        if "mask" in steps:
            also = f"{valid} & " if valid else ""
            valid = valid or block.name("valid")
            block.say(f"{valid} = {also}{turned(steps['mask'])}")
        return valid, reset
