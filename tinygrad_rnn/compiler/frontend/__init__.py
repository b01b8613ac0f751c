"""Frontend: a step, run once on symbols, becomes a program in normal form.

Files, in reading order: `trace_step`, `trace` (records operations), `integers` (whole numbers, and what looks them up),
`bits` (of two of them), `empty` (values without elements), `any_rank` (values of several axes become rows),
`contraction` (products of such values), `normal_form` (a rule for each kind of lowering), `column_cuts` and
`mean_free_sums` (two of its algebraic simplifications), `recorder` and `refusing` (what all traces have in common: how
they are watched, and given up), `watch` (what a step does that a trace would freeze).
"""
