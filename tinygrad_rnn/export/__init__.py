"""What was trained leaves the process: programs become code and files that need no package.

Files, in reading order: `sizes` (expressions of the sizes that differ from call to call), `graph` (a model as values,
operations and loops), `recorder` (the trace of a model, with the steps of its cells), `unify` (traces with several
sizes become one graph), `tracing` (the way from a model to its graph), `evaluate` (graphs on NumPy, to compare with),
`streaming` (a model for one time step); `c` (a header in C99); `numpy_file` (the door to files for NumPy),
`numpy_table` (each operation as an expression), `numpy_functions` (helpers that are copied into the files),
`source_names` (names of the model's code), `numpy_text` and `numpy_block` (the statements of a function),
`numpy_writer` (the file).
"""

from .c.to_c import CFile, to_c
from .numpy_file import NumpyFiles, to_numpy

__all__ = ["CFile", "NumpyFiles", "to_c", "to_numpy"]
