"""Whole functions of tensors become programs, in which the loops of recurrent layers are operations.

Files, in reading order: `program` (what a trace returns), `bounds` (between which numbers values lie), `trace` (records
a function's operations), `adjoint` (records the gradients), `rows` (which operations a loop over rows can compute),
`losses` and `simplify` (take operations apart until they can), `regions` (which of them run together), `region_loop`
(those as compiled loops), `interpret` (runs a program on NumPy), `memory` (for values), `stage_list` and `bind` (stages
of machine code), `binder` (where values are), `bind_loops`, `bind_ctc`, `bind_operations` and `bind_integers` (which
stages an operation becomes), `native` (a program bound to arrays: one native call), `one_dtype` (leaves of another
dtype), `pool` (native programs of one program), `runner` (runs a program after the tests of values that it asks for),
`explain` (reports on what it runs as).
"""
