"""What was trained leaves the process: programs become code and files that need no package.

Files, in reading order: `sizes` (expressions of the sizes that differ from call to call), `graph` (a model as values,
operations and loops), `recorder` (the trace of a model, with the steps of its cells), `unify` (traces with several
sizes become one graph), `tracing` (the way from a model to its graph), `evaluate` (graphs on NumPy, to compare with); `c` (a header in C99).
"""

from .c.to_c import CFile, to_c

__all__ = ["CFile", "to_c"]
