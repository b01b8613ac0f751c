"""Statements of one function of an exported NumPy file, and names for its values."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .graph import Fill, Node, Range, Result, Value
from .numpy_table import ATOM, TABLE, TIMES, Text, number, setting
from .source_names import targets_at, value_is_tuple

LONGEST = 64  # of an expression that becomes part of another one
VIEWS = frozenset({"transpose", "reshape", "getitem", "broadcast_to", "copy", "constant"})


class Written(NamedTuple):
    """The expression of a value, and the ids of the values of the block that it names, with repetitions."""

    text: Text
    reads: tuple[int, ...] = ()


class Block:
    """The body of one function.

    Parameters
    ----------
    outer : mapping of int to Written
        Values that are known outside, by their ids.
    reserved : set of str
        Names that mean something outside.
    indent : str

    Attributes
    ----------
    lines : list of str
    calls : set of str
        The helper functions that are called.
    """

    def __init__(self, outer: Mapping[int, Written], reserved: set[str], indent: str = "    "):
        self.outer, self.reserved, self.indent = outer, reserved, indent
        self.lines: list[str] = []
        self.calls: set[str] = set()
        self._known: dict[int, Written] = {}
        self._owner: dict[str, int] = {}  # by name: the id of the value that it stands for
        self._left: dict[int, int] = {}  # by id: how often it is still to be read
        self._users: dict[int, list[Node | None]] = {}

    # ---- names

    def define(self, value: Value, *hints: str) -> str:
        """Give a value a name: the first of the hints that is free, or one with a number."""
        wanted = [clean(hint) for hint in hints or ("value",)]
        name = next((w for w in wanted if self._free(w)), None)
        n = 2
        while name is None:
            name = f"{wanted[0]}_{n}" if self._free(f"{wanted[0]}_{n}") else None
            n += 1
        self._owner[name] = id(value)
        self._known[id(value)] = Written(Text(name), (id(value),))
        return name

    def name(self, hint: str) -> str:
        """A name of no value."""
        return self.define(Result((), np.dtype(float), None, 0), hint)  # type: ignore[arg-type]

    def _free(self, name: str) -> bool:
        if name in self.reserved or name in RESERVED:
            return False
        return name not in self._owner or self._left.get(self._owner[name], 1) <= 0

    # ---- expressions

    def written(self, value: Any) -> Written:
        """The expression of an argument."""
        if not isinstance(value, Value):
            return Written(number(value))
        found = self._known.get(id(value)) or self.outer.get(id(value))
        if found is not None:
            return found
        return Written(given(value))

    def code(self, value: Any) -> str:
        """The expression as text."""
        return self.written(value).text.code

    def expect(self, nodes: Sequence[Node], reads: Callable[[Node], Sequence[Value]], outputs: Sequence[Value]) -> None:
        """Count what is going to be read: by operations, and at the end as results."""
        for node in nodes:
            for value in reads(node):
                self._count(value, node)
        for value in outputs:
            self._count(value, None)

    def _count(self, value: Value, user: Node | None) -> None:
        self._left[id(value)] = self._left.get(id(value), 0) + 1
        self._users.setdefault(id(value), []).append(user)

    def done(self, *values: Any) -> None:
        """Note that values have been read by a statement."""
        for value in values:
            for read in self.written(value).reads if isinstance(value, Value) else ():
                self._left[read] = self._left.get(read, 0) - 1

    # ---- statements

    def say(self, line: str) -> None:
        self.lines.append(f"{self.indent}{line}" if line else "")

    def write(self, node: Node) -> None:
        """An operation: a statement, or a part of the one that reads it."""
        args = [self.written(a) for a in node.args]
        text = TABLE[node.op.name](node, [a.text for a in args])
        self.calls |= set(text.calls)
        reads = tuple(read for a in args for read in a.reads)
        if self._is_part(node, text.code):
            self._known[id(node.results[0])] = Written(text, reads)
            return
        hints = self._hints(node)
        for read in reads:
            self._left[read] = self._left.get(read, 0) - 1
        names = [self.define(r, *hints[i]) if self._users.get(id(r)) else "_" for i, r in enumerate(node.results)]
        if node.op.name in SEVERAL:
            rest = len(names) < _parts(node)  # those at the end that nothing reads
            names[-1] += "," * (len(names) == 1 and not rest)
            names += ["*_"] * rest
        self.say(f"{', '.join(names)} = {text.code}")

    def _is_part(self, node: Node, code: str) -> bool:
        """Whether an operation is written within its reader: the same statement in the model's code."""
        if len(node.results) != 1 or node.op.name in SEVERAL:
            return False
        if re.fullmatch(r"\w+", code):  # a copy: another name for the same
            return True
        users = self._users.get(id(node.results[0]), [])
        if len(users) != 1 or users[0] is None or users[0].op.name not in TABLE or len(code) > LONGEST:
            return False
        return users[0].where == node.where or (node.op.name in VIEWS and node.op.name != "copy")

    def _hints(self, node: Node) -> list[tuple[str, ...]]:
        """Names for the results, by the statement that computes them."""
        targets, words = targets_at(node.where), GENERIC.get(node.op.name, node.op.name)
        if len(targets) == len(node.results) and not (len(targets) == 1 and self._inner(node)):
            return [(t,) for t in targets]
        if len(node.results) == 1 and len(targets) > 1 and value_is_tuple(node.where):
            return [(*[t for t in targets if self._free(t)][:1], words)]
        return [(words,)] * len(node.results)

    def _inner(self, node: Node) -> bool:
        """Whether a value is read by the same statement that computes it: then the name is another's."""
        users = self._users.get(id(node.results[0]), [])
        return bool(users) and all(u is not None and u.where == node.where for u in users)


def _parts(node: Node) -> Any:
    """How many parts an operation cuts its argument into."""
    if node.op.name == "split":
        return len(node.static["bounds"]) - 1
    return node.args[0].shape[node.static["axis"]]


SEVERAL = frozenset({"split", "unstack"})
GENERIC = {"linear": "y", "matmul": "y", "getitem": "part", "reshape": "shaped", "multiply": "product", "add": "total"}
GENERIC |= {"embedding": "embedded", "concat": "joined", "transpose": "turned", "subtract": "difference"}
GENERIC |= {"where": "chosen", "split": "part", "unstack": "part", "divide": "quotient", "broadcast_to": "spread"}
RESERVED = frozenset({*keyword.kwlist, *keyword.softkwlist, *dir(builtins), "np", "Path", "weights"}) - {"input"}


def clean(name: str) -> str:
    """A name that Python takes."""
    name = re.sub(r"\W", "_", name).strip("_") or "value"
    return f"_{name}" if name[0].isdigit() else name


def given(value: Value) -> Text:
    """The expression of an array that sizes decide."""
    shape, dtype = setting(value.shape), setting(value.dtype)
    if isinstance(value, Fill):
        if value.value == 0 and not isinstance(value.value, bool):
            return Text(f"np.zeros({shape}, {dtype})")
        return Text(f"np.full({shape}, {setting(value.value)}, {dtype})")
    assert isinstance(value, Range)
    length = value.shape[value.axis]
    code, level = f"np.arange({setting(length)})", ATOM
    if value.step != 1:
        code, level = f"{code} * {number(value.step).within(ATOM)}", TIMES
    if value.start != 0:
        code, level = f"{code} + {number(value.start).within(TIMES)}", TIMES + 1
    if value.dtype != np.dtype(np.int64):
        code, level = f"{Text(code, level).within(ATOM)}.astype({dtype})", ATOM
    if len(value.shape) > 1:
        lead = ", ".join(["None" if i != value.axis else ":" for i in range(len(value.shape))])
        code = f"np.broadcast_to({Text(code, level).within(ATOM)}[{lead}], {shape})"
        level = ATOM
    return Text(code, level)
