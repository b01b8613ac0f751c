"""Maps of names: what an array or a part of a model there is called here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..checks import shown
from ..errors import CheckpointError

V = TypeVar("V")
Names = Mapping[str, str | None]


def renamed(values: Mapping[str, V], names: Names | None) -> dict[str, V]:
    """Values under the names that `names` gives them; what it does not mention keeps its own.

    Parameters
    ----------
    values : mapping of str to any
    names : mapping of str to str or None
        From names, or beginnings of names that end before a dot, to others: ``{"encoder.rnn": "rnn"}`` makes of
        ``encoder.rnn.weight_ih_l0`` ``rnn.weight_ih_l0``. The longest that fits counts. ``""`` stands for all,
        on either side; None leaves values out.

    Raises
    ------
    TypeError
        If `names` is no such mapping.
    CheckpointError
        If a name fits nothing, or two values would get one name.
    """
    if names is None:
        return dict(values)
    _check(names)
    out: dict[str, V] = {}
    origins: dict[str, str] = {}
    used = set()
    for name, value in values.items():
        fitting = [old for old in names if old in ("", name) or name.startswith(f"{old}.")]
        new: str | None = name
        if fitting:
            used.update(fitting)
            new = _moved(name, max(fitting, key=len), names)
        if new is None:
            continue
        if new in out:
            raise CheckpointError(f"names: got {new!r} for {origins[new]} and for {name}, wanted one name for each")
        out[new], origins[new] = value, name
    unused = [old for old in names if old not in used]
    if unused:
        some = ", ".join([*values][:5]) or "none"
        raise CheckpointError(f"names: got {shown(unused[0])}, wanted a name, or the beginning of one, of {some}, ...")
    return out


def _check(names: Any) -> None:
    if not isinstance(names, Mapping):
        raise TypeError(f"names: got {shown(names)}, wanted a mapping of names there to names here")
    for old, new in names.items():
        if not isinstance(old, str) or not isinstance(new, str | None):
            raise TypeError(f"names: got {shown(old)}: {shown(new)}, wanted a name and a name, or None")


def _moved(name: str, old: str, names: Names) -> str | None:
    """A name with its beginning replaced."""
    new, rest = names[old], name[len(old) :].removeprefix(".")
    if new is None:
        return None
    return ".".join(part for part in (new, rest) if part)
