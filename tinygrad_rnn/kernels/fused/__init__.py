"""Kernels that do the work of one operation, or of one update, in a single jitted call."""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
