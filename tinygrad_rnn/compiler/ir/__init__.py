"""Intermediate representation: programs of symbols, and what reads them without changing them.

Files, in reading order: `symbol` (a value of a program), `walk` (over operands), `program` (what tracing returns),
`program_ops` (the operations whose algebra the compiler uses), `lane_language` (expressions of lowerings),
`weight_slices` (slices of parameters), `heads` (matrices for each head), `rearranged` (features repeated or picked),
`interpret` (runs a program on the tape), `canonical` (compares two), `printer`; `infer` and `verify` (whether a program
is well-formed; each phase has such a file).
"""
