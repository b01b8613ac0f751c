"""Initialisers: they fill a tensor in place, from the package's generator, and return it."""

from ..modules.init import (
    Initialiser,
    constant,
    fans,
    gain,
    kaiming_normal,
    kaiming_uniform,
    normal,
    orthogonal,
    per_gate,
    set_to,
    uniform,
    xavier_normal,
    xavier_uniform,
)

__all__ = [
    "Initialiser",
    "constant",
    "fans",
    "gain",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "orthogonal",
    "per_gate",
    "set_to",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
]
