"""Fused kernels: the work of one operation, or of one update, in a single jitted call.

One file for each: `matmul_tanh`, `cross_entropy`, `layer_norm`, `embedding`, `losses`, `dropout`, `ctc`, `optimizers`,
`special` (functions that NumPy lacks).
"""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
