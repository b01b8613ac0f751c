"""C: a traced program becomes one header in C99, which needs no library and allocates nothing.

Files, in reading order: `to_c` (the function of that name), `traced` (a cell's program with its constants), `header`
(the text of a file), `step` (the statements of a step), `heavy` (its products, reductions and rearrangements), `places`
(where values lie), `expressions` (elementwise maths), `functions` (exp, tanh and their kin in C) and `weights` (arrays
of constants).
"""
