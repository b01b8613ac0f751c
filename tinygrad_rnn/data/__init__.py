"""Data: vocabularies, padding, windows, scalers, CSV columns and loaders.

Everything here takes and returns NumPy arrays; what is random draws from a seed, so that a run can be
repeated.
"""

from .loader import DataLoader, stack_examples
from .scalers import MinMaxScaler, StandardScaler
from .sequences import one_hot, pad_sequences, train_test_split, windows
from .streams import contiguous_batches
from .tables import read_column, read_csv_columns
from .vocabulary import Vocabulary, tokenize

__all__ = [
    "DataLoader",
    "MinMaxScaler",
    "StandardScaler",
    "Vocabulary",
    "contiguous_batches",
    "one_hot",
    "pad_sequences",
    "read_column",
    "read_csv_columns",
    "stack_examples",
    "tokenize",
    "train_test_split",
    "windows",
]
