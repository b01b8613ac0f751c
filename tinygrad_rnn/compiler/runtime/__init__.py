"""Runtime: runs generated loops, on arrays, with what is done before and after them.

Files, in reading order: `executable` (a plan that runs), `bind_forward` and `bind_backward` (tables of arguments for
one T and batch), with `binding` (what both need); `epilogue` (gradients of matrices after the loop), `launch` (all of
it in one jitted call), `sharing` (by how many threads), with `pieces`, `costs`, `trials` and `threads`;
`buffer_pool`, `memory`; for sequences of different lengths `segments`, `row_moves` and `interpret_segments`;
`streaming` (one step per call), `learning` (the same, with gradients); `verify`, on `column_numbers`; `contents` (what
has to be the same before a program runs again).
"""
