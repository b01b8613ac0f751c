"""All that models are made of, under PyTorch's names: modules, losses, recurrent layers, searches.

Names only: they are defined in `modules`, `recurrent` and `decoding`, which never import this room.
"""

from .. import foreign_names
from ..decoding import beam_search, greedy_search, sample
from ..modules.attention import LuongAttention
from ..modules.containers import ModuleDict, ModuleList, Sequential
from ..modules.dropout import Dropout
from ..modules.embedding import Embedding
from ..modules.linear import Linear
from ..modules.losses import BCEWithLogitsLoss, CrossEntropyLoss, CTCLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from ..modules.module import Module
from ..modules.norm import LayerNorm
from ..modules.parameter import Parameter
from ..recurrent import (
    GRU,
    LSTM,
    RNN,
    RTRL,
    Bidirectional,
    Cell,
    LearnedInitialState,
    Modifier,
    Recurrent,
    Stacked,
    VariationalDropout,
    WeightDrop,
    Zoneout,
    detach_state,
)
from ..recurrent.cells import (
    CIFGCell,
    FastGRNNCell,
    GRUCell,
    IndRNNCell,
    LayerNormGRUCell,
    LayerNormLSTMCell,
    LRUCell,
    LSTMCell,
    MGUCell,
    MinGRUCell,
    MinLSTMCell,
    PeepholeLSTMCell,
    RNNCell,
    UGRNNCell,
    cell_by_name,
    cell_names,
    register_cell,
)
from . import functional, init
from .functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    ctc_beam_search,
    ctc_greedy_decode,
    ctc_loss,
    huber_loss,
    l1_loss,
    mse_loss,
    nll_loss,
)

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "RTRL",
    "BCEWithLogitsLoss",
    "Bidirectional",
    "CIFGCell",
    "CTCLoss",
    "Cell",
    "CrossEntropyLoss",
    "Dropout",
    "Embedding",
    "FastGRNNCell",
    "GRUCell",
    "HuberLoss",
    "IndRNNCell",
    "L1Loss",
    "LRUCell",
    "LSTMCell",
    "LayerNorm",
    "LayerNormGRUCell",
    "LayerNormLSTMCell",
    "LearnedInitialState",
    "Linear",
    "LuongAttention",
    "MGUCell",
    "MSELoss",
    "MinGRUCell",
    "MinLSTMCell",
    "Modifier",
    "Module",
    "ModuleDict",
    "ModuleList",
    "NLLLoss",
    "Parameter",
    "PeepholeLSTMCell",
    "RNNCell",
    "Recurrent",
    "Sequential",
    "Stacked",
    "UGRNNCell",
    "VariationalDropout",
    "WeightDrop",
    "Zoneout",
    "beam_search",
    "binary_cross_entropy_with_logits",
    "cell_by_name",
    "cell_names",
    "cross_entropy",
    "ctc_beam_search",
    "ctc_greedy_decode",
    "ctc_loss",
    "detach_state",
    "functional",
    "greedy_search",
    "huber_loss",
    "init",
    "l1_loss",
    "mse_loss",
    "nll_loss",
    "register_cell",
    "sample",
]


def __getattr__(name: str):  # called for what is not found
    raise foreign_names.missing("tinygrad_rnn.nn", name, foreign_names.NN)
