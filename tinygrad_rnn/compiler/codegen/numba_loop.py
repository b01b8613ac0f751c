"""Writer of loops in Numba's Python, on SIMD lanes, in the part that ``translate.py`` compiles."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence

from ..ir.lane_language import Input, Number, Static, Tree, parse
from ..schedule.schedule import Schedule
from .array_names import PACKED
from .generator import LoopGenerator
from .loop_writer import HeadsOperand, LoopWriter, Operand, Target

BINDS = {
    "<": 1, "<=": 1, ">": 1, ">=": 1, "==": 1, "!=": 1, "|": 2, "^": 3, "&": 4, "+": 5, "-": 5, "*": 6, "/": 6,
}  # fmt: skip
UNARY, ATOM = 7, 8
DEFINES = re.compile(r"\s*(?:for )?(\w+) (?:=|in) ")
# what combines the lanes of a vector in one call; others are combined pair by pair
ACROSS = {
    parse("{0} + {1}").tree: "vsum",
    parse("vmax({0}, {1})").tree: "vhmax",
    parse("vmin({0}, {1})").tree: "vhmin",
}


class NumbaWriter(LoopWriter):
    """Writer of Numba's Python.

    Parameters
    ----------
    lanes : int
        Numbers in a vector.
    """

    def __init__(self, lanes: int):
        self.lanes = lanes

    # ---- values

    def expression(self, tree: Tree, inputs: Sequence[str], statics: Mapping[str, str] = {}) -> str:
        return self.constant(tree.value) if isinstance(tree, Number) else self._print(tree, inputs, statics)[0]

    def _print(self, tree: Tree, inputs: Sequence[str], statics: Mapping[str, str]) -> tuple[str, int]:
        """(text of an expression, how tightly its last operator binds)."""
        if isinstance(tree, Input):
            return inputs[tree.position], ATOM
        if isinstance(tree, Static):
            return statics[tree.name], ATOM
        if isinstance(tree, Number):
            return _number(tree.value), UNARY if tree.value < 0 else ATOM
        if tree.function == "vsplat":
            return self.constant(tree.args[0].value), ATOM  # type: ignore[union-attr]
        parts = [self._print(a, inputs, statics) for a in tree.args]
        binds = BINDS.get(tree.function, ATOM)
        if len(parts) == 1 and tree.function in "-~":
            return f"{tree.function}{_inside(*parts[0], UNARY)}", UNARY
        if binds < ATOM:
            # in Python comparisons would chain: a < b < c is no comparison of a < b with c
            left, right = _inside(*parts[0], binds + (binds == 1)), _inside(*parts[1], binds + 1)
            return f"{left} {tree.function} {right}", binds
        # vectors, as not every function takes a number beside one
        texts = [self.constant(a.value) if isinstance(a, Number) else text for a, (text, _) in zip(tree.args, parts)]
        return f"{tree.function}({', '.join(texts)})", ATOM

    def constant(self, value: float) -> str:
        return f"vsplat({_number(value)}, consts)"

    def add(self, terms: Sequence[str]) -> str:
        return " + ".join(terms)

    def select(self, mask: str, a: str, b: str) -> str:
        return f"vselect({mask}, {a}, {b})"

    def first_lanes(self, count: str) -> str:
        return f"lane_mask({count}, consts)"

    def is_true(self, x: str) -> str:
        return f"{x} != 0.0"

    def across(self, total: str, combine: Tree, unique: Callable[[str], str]) -> tuple[list[str], str]:
        if combine in ACROSS:
            return [], f"vsplat({ACROSS[combine]}({total}), consts)"
        lines = []
        for _ in range(self.lanes.bit_length() - 1):
            even, odd, both = unique(f"{total}_even"), unique(f"{total}_odd"), unique(f"{total}_both")
            lines += [self.assign(even, f"veven({total})"), self.assign(odd, f"vodd({total})")]
            lines.append(self.assign(both, self.expression(combine, [even, odd])))
            total = both
        return lines, total

    # ---- memory

    def load(self, array: str, at: str, count: str = "") -> str:
        return f"vload_n({array}, {at}, {count})" if count else f"vload({array}, {at})"

    def broadcast(self, array: str, at: str) -> str:
        return f"vbroadcast({array}, {at})"

    def gather(self, array: str, at: str, table: str, index: str) -> str:
        return f"vgather({array}, {at}, {table}, {index})"

    def look_up(self, array: str, places: str, count: str) -> str:
        return f"vlookup({array}, 0, {places}, {count})"

    def store(self, array: str, at: str, value: str, count: str = "") -> str:
        return f"vstore_n({array}, {at}, {value}, {count})" if count else f"vstore({array}, {at}, {value})"

    # ---- statements

    def comment(self, text: str) -> str:
        return f"# {text}".rstrip()

    def assign(self, name: str, value: str) -> str:
        return f"{name} = {value}"

    def integer(self, at: str) -> str:
        return f"integer(dims, {at})"

    def defined(self, line: str) -> str:
        found = DEFINES.match(line)
        return found[1] if found else ""

    def lanes_left(self, width: str, at: str) -> str:
        return f"min(LANES, {width} - {at})"

    def vectors(self, index: str, width: str, body: list[str]) -> list[str]:
        return [f"for {index} in range(0, {width}, LANES):", *_indented(body)]

    def repeat(self, index: str, count: str, body: list[str]) -> list[str]:
        return [f"for {index} in range({count}):", *_indented(body)]

    def rows(self, body: list[str]) -> list[str]:
        return ["for b in range(low, high):", *_indented(body)]

    def meet(self) -> list[str]:
        return ["meet(member)"]

    def steps(self, body: list[str], reverse: bool, table: int, shift: str) -> list[str]:
        time = ["for s in range(T):", "    t = T - 1 - s"] if reverse else ["for t in range(T):"]
        time += [f"    {name} = integer(dims, {table + i} + t)" for i, name in enumerate(("first", "after"))]
        time += ["    end = min(b1, after - first)"]
        # sequences end together: at early steps none of this thread's rows may have begun
        time += ["    if end <= b0:", "        continue"]
        time += [f"    {name} = {name}_row(member, b0, end, {shift})" for name in ("low", "high")]
        return time + _indented(body)

    def product(self, operands: list[Operand], bias: str, target: Target) -> list[str]:
        lines = []
        out = f"{target.array}, {target.at}, {target.ld}"
        # the common case of an input and a state, in one pass over what is stored; a single operand has an empty second
        if bias:
            nothing = (operands[0] if operands else Operand(PACKED, "0", "0", "0", "0"))._replace(depth="0")
            first, second = [*operands, nothing, nothing][:2]
            matrices = [f"{o.array}, {o.at}, {o.ld}, {o.depth}, {PACKED}, {o.packed}" for o in (first, second)]
            begin = f"{PACKED}, {bias}, end - b0, {target.columns}"
            lines.append(f"gemm2_part({', '.join(matrices)}, {begin}, {out}, member)")
            operands = operands[2:]
        for o in operands:
            left = f"{o.array}, {o.at}, {o.ld}, end - b0, {o.depth}"
            lines.append(f"gemm_part({left}, {PACKED}, {o.packed}, {target.columns}, {out}, True, member)")
        return lines

    def heads(self, operand: HeadsOperand, head: str, target: Target, by_row: bool) -> list[str]:
        o, n = operand, target.columns
        if by_row:
            place, out = f"{o.at} + (b - b0) * {o.ld}", f"{target.at} + (b - b0) * {target.ld}"
            left = f"{o.array}, {place}, {o.depth}, {o.heads}, {o.depth}, {PACKED}, {o.packed}"
            return self.rows([f"gemm_part({left}, {n}, {target.array}, {out}, {n}, True, 0)"])
        number = head if o.repeat == "1" else f"{head} // {o.repeat}"
        number = "0" if o.matrices == "1" else number if o.heads == o.matrices else f"({number}) % {o.matrices}"
        packed = o.packed if number == "0" else f"{o.packed} + {number} * {o.size}"
        left = f"{o.array}, {o.at} + {head} * {o.depth}, {o.ld}, end - b0, {o.depth}, {PACKED}, {packed}"
        line = f"gemm_part({left}, {n}, {target.array}, {target.at} + {head} * {n}, {target.ld}, True, 0)"
        first, behind = (f"{name}_row(member, 0, {o.heads}, 0)" for name in ("low", "high"))
        return [f"for {head} in range({first}, {behind}):", *_indented([line])]

    def function(
        self,
        name: str,
        arrays: list[str],
        comments: list[str],
        literals: Mapping[str, float],
        numbers: Sequence[str],
        ints: Sequence[str],
        starts: Mapping[str, str],
        loop: list[str],
    ) -> str:
        head = [self.assign(label, self.constant(x)) for label, x in literals.items()]
        head += [self.assign(label, f"vsplat(consts[{i}], consts)") for i, label in enumerate(numbers)]
        head += [self.assign(label, f"integer(dims, {i + 2})") for i, label in enumerate(ints)]
        head += [self.assign("own", "own_row(member, b0)")] if starts else []
        head += [self.assign(label, code) for label, code in starts.items()]
        lines = [
            f"def {name}_loop(b0, b1, member, dims, consts, {', '.join(arrays)}):",
            *_indented([*map(self.comment, comments), "T = integer(dims, 0)", "B = integer(dims, 1)"]),
            *_indented(head + (loop or ["pass"])),
            "",
            "",
            # the function that is called finds its arrays by their addresses, and hands them to the loop
            "@loop",
            f"def {name}(b0, b1, args, member):",
            *(f"    {array} = array(args, {i})" for i, array in enumerate(["consts", *arrays], 1)),
            f"    {name}_loop(b0, b1, member, integers(args, 0), consts, {', '.join(arrays)})",
        ]
        return "\n".join(lines) + "\n"


class Emitter(LoopGenerator):
    """Generator of loops in Numba's Python, for vectors of `lanes` numbers."""

    def __init__(self, schedule: Schedule, name: str, reverse: bool, lanes: int):
        super().__init__(schedule, name, reverse, NumbaWriter(lanes))


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _inside(text: str, binds: int, wanted: int) -> str:
    """Text of an operand, in parentheses if it does not bind tightly enough."""
    return text if binds >= wanted else f"({text})"


def _number(value: float) -> str:
    return repr(value) if math.isfinite(value) else "INF" if value > 0 else "-INF"
