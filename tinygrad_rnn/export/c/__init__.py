"""C: a traced program becomes one header in C99, which needs no library and allocates nothing.

Files, in reading order: `to_c` (the function of that name); of cells `traced` (a cell's program with its constants),
`header` (the text of a file), `step` (the statements of a step), `heavy` (its products, reductions and rearrangements)
and `places` (where values lie); of models `model_header`, `model` (the loops, and what is around them), `operations`
(which operation becomes which lines), `graph_writer` (lines on arrays of any rank) and `arrays` (where elements lie);
of both `expressions` (elementwise maths), `functions` (exp, tanh and their kin in C) and `weights` (constants).
"""
