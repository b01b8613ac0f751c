"""Automatic differentiation of programs: from a step to its reverse, by the rules that the tape uses.

Files: `adjoint` (reverse mode), which makes a `reverse_step`; `diagonal` (forward in time, for RTRL), with
`column_alignment` (whether a recurrence is diagonal) and `influence` (derivatives of the state, in numbers); `verify`.
"""
