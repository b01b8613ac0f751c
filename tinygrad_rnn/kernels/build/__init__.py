"""How kernels become machine code: the processor, the decorators that compile, and the caches on disk."""

from .uninterrupted import modules_of

__getattr__ = modules_of(__name__)
