"""Data: vocabularies, padding, windows, scalers, forecasts, readers of files, and loaders.

Files, in reading order: `sequences`, `frames` and `frame_times` (of pandas), `vocabulary`, `scalers`, `loader`,
`streams`; readers by format, `files` (text, IDX, downloads), `tables` (CSV), `corpora` (labelled text), `wav`, `sound`,
`midi`; `audio` (features of sound), `ngrams` and `forecasting` (what a network has to beat); `_checks` and `_files`.

Everything here takes and returns NumPy arrays, and knows nothing of tensors; what is random draws from a seed, so that
a run can be repeated. Readers raise DataError, whatever is in a file.
"""

from .audio import log_mel
from .corpora import read_class_folders, read_conll, read_pairs
from .files import download, read_idx, read_text
from .forecasting import find_period, persistence, roll_forward, seasonal_naive, walk_forward
from .frames import FrameWindows
from .loader import DataLoader, stack_examples
from .midi import Note, read_midi, write_midi
from .ngrams import NGramModel
from .scalers import MinMaxScaler, StandardScaler
from .sequences import collate_sequences, one_hot, pad_sequences, train_test_split, windows
from .sound import read_audio
from .streams import contiguous_batches
from .tables import read_column, read_csv_columns
from .vocabulary import Vocabulary, tokenize
from .wav import read_wav, write_wav

__all__ = [
    "DataLoader",
    "FrameWindows",
    "MinMaxScaler",
    "NGramModel",
    "Note",
    "StandardScaler",
    "Vocabulary",
    "collate_sequences",
    "contiguous_batches",
    "download",
    "find_period",
    "log_mel",
    "one_hot",
    "pad_sequences",
    "persistence",
    "read_audio",
    "read_class_folders",
    "read_column",
    "read_conll",
    "read_csv_columns",
    "read_idx",
    "read_midi",
    "read_pairs",
    "read_text",
    "read_wav",
    "roll_forward",
    "seasonal_naive",
    "stack_examples",
    "tokenize",
    "train_test_split",
    "walk_forward",
    "windows",
    "write_midi",
    "write_wav",
]
