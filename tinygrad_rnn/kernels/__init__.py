"""Jitted kernels. Nothing in here knows of tensors, and nothing outside of it of registers.

- `build`: how a function becomes machine code: `target` (the processor), `fingerprint` (the decorator of kernels, and
  what cached code is named by), `translate` (how generated loops are compiled), `c_functions` (what others call without
  being compiled together with it), `native` (code with an LLVM engine of its own, freed with it), `code_cache`,
  `disk_cache`, and `uninterrupted` (work that neither signals nor forks cut in two).
- `simd`: a vector type for Numba, as wide as the machine's registers: `types`, `operators`, `lanes`; `mathfn`: exp,
  tanh, sigmoid and the like, within 4 units in the last place.
- `gemm`: matrix products: `tile` and `gemm`, packed; `few_rows`, as they are; `extern`, the packed one as C functions.
- `loops`: `entry` (how a generated loop is called), `tasks` (what is done before and after it), `segments` (where the
  rows of sequences of different lengths lie), `guarded_step` (a step that is run only while arrays are what they were).
- `fused`: one jitted call each: `matmul_tanh`, `ctc`, `optimizers`, `special`.
- `reference`: plain NumPy twins.

Import modules from their folder, as in ``from ..kernels.fused import ctc``: it loads Numba with the first one only, and
so that Ctrl-C does not leave half of it behind.
"""
