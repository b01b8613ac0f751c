"""Matrix products of flat arrays.

Files, in reading order: `tile` (in registers), `gemm` (of packed panels), `few_rows` (of matrices as they are),
`extern` (the packed one as a C function).
"""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
