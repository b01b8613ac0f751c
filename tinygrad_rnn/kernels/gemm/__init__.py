"""Matrix products: packed and tiled, of a few rows, and as C functions."""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
