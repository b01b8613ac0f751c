"""Stages of programs of whole functions, C functions of a table, and the call that runs them all.

Files, in reading order: `stage_codes` (the tables), `run` (one call for many stages), `launches` (tasks and loops),
`segments` (which steps count), `copies` (between arrays of any strides), `integers` (elementwise, and as floats),
`lookups` (rows by integers), `alignments` (the CTC loss), `feeds` (data in, losses out), `updates` (clipping, and the
kernels of optimisers).
"""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
