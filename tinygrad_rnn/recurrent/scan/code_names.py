"""Names in the code of a step: globals and attributes that it can read, as far as bytecode tells."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator

from ...errors import CompileError

_GLOBAL = {"LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL", "STORE_NAME", "DELETE_GLOBAL", "DELETE_NAME"}
_GLOBAL |= {"LOAD_FROM_DICT_OR_GLOBALS"}
_FILLERS = {"PRECALL", "PUSH_NULL", "NOP", "EXTENDED_ARG", "CACHE"}
_CALL = "PRECALL" if "PRECALL" in dis.opmap else "CALL"  # which takes the arguments from the stack
# what reads attributes whose names are not in the code that says so
_BY_TEXT = {"getattr", "hasattr"}
_ANY_NAME = {"vars", "__dict__", "__getattribute__", "dir", "attrgetter", "getmembers", "asdict", "astuple"}
_ANY_NAME |= {"deepcopy", "pickle", "dumps", "__reduce__", "__reduce_ex__", "__getstate__"}


class EveryName:
    """All names there are."""

    def __contains__(self, name: object) -> bool:
        return True


def codes_in(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code and that of functions inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from codes_in(const)


def names_in(code: types.CodeType) -> list[str]:
    """Names that the code reads, or spells out in a text, as for getattr()."""
    return [*code.co_names, *_texts(code)]


def _texts(code: types.CodeType) -> list[str]:
    consts = [*code.co_consts, *[c for t in code.co_consts if isinstance(t, tuple | frozenset) for c in t]]
    return [c for c in consts if isinstance(c, str) and c.isidentifier()]


@functools.lru_cache(4096)
def global_names(code: types.CodeType) -> frozenset[str]:
    """Names of globals in the code, and in that of functions inside it."""
    return frozenset({i.argval for c in codes_in(code) for i in dis.get_instructions(c) if i.opname in _GLOBAL})


@functools.lru_cache(4096)
def imported(code: types.CodeType) -> list[str]:
    """Modules that the code imports, or names in a text."""
    steps = dis.get_instructions(code)
    return [*[i.argval for i in steps if i.opname == "IMPORT_NAME"], *[c for c in code.co_consts if isinstance(c, str)]]


@functools.lru_cache(4096)
def reads_of_globals(code: types.CodeType) -> dict[str, set[str] | None]:
    """Of each global, the attributes that the code reads; None if it does anything else with the global."""
    found: dict[str, set[str] | None] = {}
    for inside in codes_in(code):
        steps = [i for i in dis.get_instructions(inside) if i.opname not in _FILLERS]
        for step, then in zip(steps, [*steps[1:], None]):
            if step.opname in _GLOBAL and step.argval[:1] != "@":  # pytest's, for texts of assertions that fail
                names = found.setdefault(step.argval, set())
                if then is None or step.opname != "LOAD_GLOBAL" or then.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
                    found[step.argval] = None
                elif names is not None:
                    names.add(then.argval)
    return found


@functools.lru_cache(4096)
def makes_up_names(code: types.CodeType) -> bool:
    """Whether the code reads attributes by names that it does not spell out, as ``getattr(a, "b")`` does."""
    if not _ANY_NAME.isdisjoint(names_in(code)) or not _BY_TEXT.isdisjoint(_texts(code)):
        return True
    steps = list(dis.get_instructions(code))
    if any(step.opname == "MATCH_CLASS" for step in steps):  # a pattern such as Point(0, y)
        return True
    return not all(_is_spelled_out(steps, i) for i, step in enumerate(steps) if step.argval in _BY_TEXT)


def _is_spelled_out(steps: list[dis.Instruction], at: int) -> bool:
    """Whether the instruction loads a function that is called at once, with a text as the second argument."""
    if steps[at].opname not in ("LOAD_GLOBAL", "LOAD_NAME"):
        return False
    height, text = 0, False  # of the stack above the function; whether the second argument is a text
    for step in steps[at + 1 :]:
        if step.opname == _CALL and step.arg == height:
            return text
        if step.is_jump_target or step.opcode in dis.hasjrel or step.opcode in dis.hasjabs:
            return False
        height += dis.stack_effect(step.opcode, step.arg)
        if height < 0:
            return False
        if height <= 2:
            text = height == 2 and step.opname == "LOAD_CONST" and type(step.argval) is str
    return False


@functools.lru_cache(4096)
def looked_up(code: types.CodeType) -> set[str]:
    """Names that the code looks up in globals().

    Raises
    ------
    CompileError
        If it makes up such a name when it runs.
    """
    found = set()
    steps = [i for i in dis.get_instructions(code) if i.opname not in _FILLERS]
    for i, step in enumerate(steps):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME") and step.argval == "globals":
            after = [s.opname for s in steps[i + 1 : i + 4]]
            if after[1:] != ["LOAD_CONST", "BINARY_SUBSCR"]:
                raise CompileError(
                    "the step looks up a global by a name that it makes up: keep the values in a dict, and look them "
                    "up there"
                )
            found.add(steps[i + 2].argval)
    return found
