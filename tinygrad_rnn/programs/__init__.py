"""Functions of tensors run as programs, with the results and gradients of the tape.

Files, in reading order: `nests` (arguments and results as leaves and structures), `reach` (the modules of a function),
`capture` (a function becomes a program, traced twice and compared with the tape), `cache` (programs by signature, with
guards), `replay` (a program on the tape), `halves` (a program with loops and its gradient in one memory), `operation`
(a program and its gradient as one operation of the tape), `gradients` (a loss and its gradients as one program, for
training), `report`, `compile` (the door).
"""

from .compile import CompiledFunction, compile

__all__ = ["CompiledFunction", "compile"]
