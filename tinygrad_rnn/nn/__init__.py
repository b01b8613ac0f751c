"""Neural network layers: parameters, modules, losses, and the recurrent layers, in PyTorch's names."""

from .. import foreign_names
from . import functional, init
from .attention import LuongAttention
from .containers import ModuleDict, ModuleList, Sequential
from .dropout import Dropout
from .embedding import Embedding
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
from .linear import Linear
from .losses import BCEWithLogitsLoss, CrossEntropyLoss, CTCLoss, HuberLoss, L1Loss, MSELoss, NLLLoss
from .module import Module
from .norm import LayerNorm
from .parameter import Parameter

# the room above, so that users find all layers in one place; it needs the names above, hence last
from ..recurrent import (  # isort: skip
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
    beam_search,
    detach_state,
    greedy_search,
    sample,
)
from ..recurrent.cells import (  # isort: skip
    CIFGCell,
    FastGRNNCell,
    GRUCell,
    IndRNNCell,
    LRUCell,
    LSTMCell,
    LayerNormGRUCell,
    LayerNormLSTMCell,
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
