"""Verifier of generated loops: names are defined before they are read, and arrays do not overlap."""

from __future__ import annotations

import ast
from typing import Protocol

from ..ir.heads import Heads
from ..ir.symbol import Symbol
from ..ir.verify import fault
from ..schedule.schedule import Schedule
from .addresses import AddressBook
from .bound_layout import BoundLayout
from .sizes import Sizes

PHASE = "codegen"
Region = tuple[int, int, str]  # first element, number of elements, what is there


class PackedLoop(Protocol):
    """Fields of a :class:`.Layout` that are verified, as it is made."""

    name: str
    sizes: Sizes
    schedule: Schedule
    book: AddressBook
    packed: dict[tuple[int, int], tuple[int, int]]
    heads: dict[tuple[int, int, int], tuple[int, int, Heads]]
    columns: dict[int, int]
    bias_at: dict[int, int]
    rows: list[Symbol]


def verify_source(source: str) -> None:
    """Check a generated module: each name is assigned to once, before it is read.

    Running totals, and what one repetition hands to the next, are assigned to again.

    Raises
    ------
    VerificationError
        If there is a fault; it names the line.
    """
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        fault(PHASE, f"line {error.lineno}: {error.msg}")
    known = {"min", "range"}
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.FunctionDef):
            _check_reads(node.decorator_list, known)
            _check_statements(node.body, known | {a.arg for a in node.args.args})
            known.add(node.name)
        else:
            _check_statements([node], known)


def _check_statements(statements: list[ast.stmt], known: set[str]) -> None:
    """Check a block; names that it defines are added to `known`."""
    for node in statements:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            _check_reads([node.value], known)
            total = any(isinstance(n, ast.Name) and n.id == name for n in ast.walk(node.value))
            if name in known and not total and not name.startswith("carried"):
                fault(PHASE, f"line {node.lineno}: {name} is assigned to twice")
            known.add(name)
        elif isinstance(node, ast.For) and isinstance(node.target, ast.Name):
            _check_reads([node.iter], known)
            _check_statements(node.body, known | {node.target.id})  # what a loop defines is known in it only
        elif isinstance(node, ast.If):
            _check_reads([node.test], known)
            _check_statements(node.body, set(known))
        else:
            _check_reads([node], known)


def _check_reads(nodes: list, known: set[str]) -> None:
    for top in nodes:
        for node in ast.walk(top):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in known:
                fault(PHASE, f"line {node.lineno}: {node.id} is read before it is assigned to")


def verify_bound(layout: PackedLoop, bound: BoundLayout, time: int, batch: int) -> None:
    """Check where the buffers and the packed parameters of a loop are, for one T and one batch.

    Raises
    ------
    VerificationError
        If two of them overlap, or one ends behind its array.
    """
    sizes, schedule = layout.sizes, layout.schedule
    arena = [(at, sizes.elements(b, time, batch), b.name) for b, at in bound.offsets.items()]
    _check_regions(f"{layout.name}, buffers", arena, bound.arena)
    for buffer, at in bound.offsets.items():
        if buffer.kind.begins_at_zero and at + sizes.elements(buffer, time, batch) > bound.zeros:
            fault(PHASE, f"{layout.name}: {buffer.name} is added to, and not cleared before")
    packed: list[Region] = []
    shared: set[tuple[int, int]] = set()

    def add(at: int, n: int, what: str) -> None:
        """A matrix or a bias, which several products may read."""
        if (at, n) not in shared:
            shared.add((at, n))
            packed.append((at, n, what))

    for product in schedule.products:
        out, columns = product.members[0].out.name, layout.columns[id(product)]
        for i, run in enumerate(product.sources):
            if product.has_heads(run):
                for m, member in enumerate(product.members):
                    offset, size, heads = layout.heads[id(product), i, m]
                    packed.append((offset, heads.matrices * size, f"matrices of heads {i} of {member.out.name}"))
                continue
            offset, depth = layout.packed[id(product), i]
            add(offset, depth * columns, f"matrix {i} of {out}")
        if id(product) in layout.bias_at:
            add(layout.bias_at[id(product)], columns, f"bias of {out}")
    values = dict(zip(layout.book.ints, bound.dims[2:].tolist()))
    for uid, s in layout.book.vectors.items():
        rows = batch * values["vector_ld", uid] if any(s is r for r in layout.rows) else sizes.part(s.size)
        packed.append((values["vector", uid], rows, f"vector {s.name}"))
    _check_regions(f"{layout.name}, parameters", packed, bound.weights)
    if bound.dims.size != 2 + len(layout.book.ints) + time + 1:
        fault(
            PHASE, f"{layout.name}: got {bound.dims.size} integers, wanted {len(layout.book.ints)} and a table of steps"
        )


def _check_regions(what: str, regions: list[Region], size: int) -> None:
    """Check that parts of an array of `size` elements do not overlap, and end inside it."""
    end, before = 0, "its begin"
    for at, n, name in sorted(regions):
        if at < end:
            fault(PHASE, f"{what}: {name} begins at {at}, within {before}, which ends at {end}")
        end, before = at + n, name
    if end > size:
        fault(PHASE, f"{what}: {before} ends at {end}, behind the array's {size} elements")
