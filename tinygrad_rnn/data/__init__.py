"""Data: vocabularies, padding, windows, scalers, forecasts, files and loaders.

Everything here takes and returns NumPy arrays; what is random draws from a seed, so that a run can be
repeated.
"""

from .files import download, read_idx, read_text
from .forecasting import persistence, roll_forward, seasonal_naive, walk_forward
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
    "download",
    "one_hot",
    "pad_sequences",
    "persistence",
    "read_column",
    "read_csv_columns",
    "read_idx",
    "read_text",
    "roll_forward",
    "seasonal_naive",
    "stack_examples",
    "tokenize",
    "train_test_split",
    "walk_forward",
    "windows",
]
