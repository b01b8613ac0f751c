"""What surrounds generated loops: how one is called, and the tasks before and after it."""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
