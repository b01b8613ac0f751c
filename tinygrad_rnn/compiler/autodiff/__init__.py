"""Automatic differentiation of programs: from a step to its reverse, by the rules that the tape uses.

Files: `adjoint` (reverse mode), which makes a `reverse_step`; `diagonal` (forward in time, for RTRL), with
`column_alignment` (whether a recurrence is diagonal), `influence` (derivatives of the state, in numbers) and
`influence_programs` (a step that carries them along, as a program), which needs `parameter_gradients` and `rewrite`;
`verify`.
"""
