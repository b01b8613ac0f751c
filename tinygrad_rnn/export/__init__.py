"""What was trained leaves the process: programs become code and files that need no package.

Files, in reading order: `sizes` (expressions of the sizes that differ from call to call), `graph` (a model as values,
operations and loops), `recorder` (the trace of a model, with the steps of its cells), `unify` (traces with several
sizes become one graph), `tracing` (the way from a model to its graph), `evaluate` (graphs on NumPy, to compare with),
`streaming` (a model for one time step); `c` (a header in C99); `numpy_file` (the door to files for NumPy),
`numpy_table` (each operation as an expression), `numpy_functions` (helpers that are copied into the files),
`source_names` (names of the model's code), `numpy_text` and `numpy_block` (the statements of a function),
`numpy_writer` (the file); `onnx_file` (the door to ONNX), `onnx_builder` (nodes, names and sizes), `onnx_table` (each
operation as nodes), with `onnx_operations` and `onnx_indexing`; `onnx_layers` (recurrent layers).
"""

from .c.to_c import CFile, to_c
from .numpy_file import NumpyFiles, to_numpy
from .onnx_file import OnnxFile, to_onnx

__all__ = ["CFile", "NumpyFiles", "OnnxFile", "to_c", "to_numpy", "to_onnx"]
