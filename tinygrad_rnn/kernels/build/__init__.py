"""Building: how a function becomes machine code, and where that is kept.

Files, in reading order: `target` (the processor), `fingerprint` (the decorator of kernels, and what cached code is
named by), `translate` (compiles generated loops and the kernels around them), `native` (code with an LLVM engine of its
own, freed with it), `c_functions` (what others call without being compiled together with it), `python_functions` (what
Python calls), `code_cache`, `disk_cache`, `compile_times`, `uninterrupted` (work that neither signals nor forks cut in
two).
"""

from .uninterrupted import modules_of

__getattr__ = modules_of(__name__)
