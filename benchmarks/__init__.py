"""Benchmarks, one file each: ``python -m benchmarks`` lists them."""

import os

# before NumPy is there: with more, idle threads of BLAS spin for 20 ms, into the turn of the next side
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
