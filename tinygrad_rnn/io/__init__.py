"""Models and weights from elsewhere and for elsewhere; nothing in a file is run.

`save` and `load` are those of models everywhere; the other functions read and write names and arrays.
"""

from ..nn import load, save
from ..storage.weights import read_metadata, read_weights, write_weights

__all__ = ["load", "read_metadata", "read_weights", "save", "write_weights"]
