"""Code generation: a schedule becomes the source of one function, and that a module.

Files, in reading order: `layout` (offsets in arrays), with `sizes` (of rows and buffers), `packing` (of parameters)
and `bound_layout` (for one T and batch); `array_names` (of the arrays of a call), `addresses` (names and offsets in
the source), `generator`, `vector_loop` and `nested_loop` (walk through a schedule), `repetitions` (text that repeats
becomes a loop), `loop_writer` (what they ask of a language), `numba_loop` (Numba's), `prelude`, `module_cache` (source
on the disk), `verify`.
"""
