"""Automatic differentiation of programs: from a step to its reverse, by the rules that the tape uses.

Files: `adjoint` (reverse mode) and `diagonal` (forward in time, for cells whose recurrence is diagonal; it serves
RTRL); `verify`.
"""
