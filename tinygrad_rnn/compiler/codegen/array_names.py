"""Names of the arrays of a call, in one table: tasks and loops refer to arrays by them.

An array is one of those here, one of a :class:`Role` with its number, or a buffer that is an array of its own.
"""

from __future__ import annotations

import enum

ARENA = "arena"  # buffers of the loop
FORWARD_ARENA = "forward_arena"  # those of the forward loop, which the backward loop reads
PACKED = "weights"  # packed parameters
INPUT_PACKED = "input_weights"  # packed matrices through which cotangents reach the inputs after the loop
GRADS = "grads"  # gradients of all captures
PRODUCTS = "temp"  # products on their way to gradients


class Role(enum.Enum):
    """Roles of numbered arrays; with segments, rows move between the caller's arrays and the loop's."""

    CAPTURE = "b"  # a parameter or what is computed from parameters, by uid
    INPUT = "x"  # (T, B, features), or packed rows
    STATE = "s"  # (B, features): initial states; backward, gradients of final ones
    RESET_STATE = "n"  # what rows begin with after a reset
    OUTPUT_GRAD = "g"
    INPUT_GRAD = "dx"
    CALLER_INPUT = "cx"
    CALLER_OUTPUT = "cy"
    CALLER_FINAL = "ce"  # final states
    CALLER_OUTPUT_GRAD = "cg"
    CALLER_INPUT_GRAD = "cdx"
    CALLER_STATE_GRAD = "cs"
    CALLER_RESET_GRAD = "cn"

    def of(self, number: int) -> str:
        return f"{self.value}{number}"


def next_step(buffer: str) -> str:
    """Name of the states after each step in the rows of that step, where segments need a copy."""
    return f"late_{buffer}"
