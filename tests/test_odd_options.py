"""Odd values for every option of the public interface: it is taken, or an error of ours names the option."""

import inspect
import io
import re
import types

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import data, decoding, nn, optim, recurrent, testing, train, viz
from tinygrad_rnn.errors import OutOfMemoryError
from tinygrad_rnn.recurrent.layers.multilayer import RNNBase

ROOMS = {"nn": nn, "nn.init": nn.init, "optim": optim, "data": data, "train": train, "recurrent": recurrent}
ROOMS |= {"decoding": decoding, "testing": testing, "viz": viz}

ROWS = np.zeros((3, 2, 4), np.float32)  # (T, B, features)
PROBS = np.log(np.full((5, 2, 3), 1 / 3, np.float32))


def weight():
    return tr.tensor(np.ones((4, 3)), requires_grad=True)


def optimizer():
    return optim.SGD([weight()], lr=0.1)


def steps(ids, state):
    return np.eye(5)[(ids + 1) % 5], state


def cell():
    return nn.GRUCell(4, 3)


def trained():
    w = weight()
    w.grad = tr.ones((4, 3))
    return [w]


def trainer(**options):
    model = nn.Linear(4, 3)
    return train.Trainer(model, optim.SGD(model.parameters()), nn.mse_loss, progress=False, **options)


def fit(max_steps=3, **options):
    return trainer().fit([(ROWS[0], np.zeros((2, 3)))], max_steps=max_steps, **options)


SEARCH = {"step": lambda: steps, "stop": 4}

# a call of each public name that works, as it needs its arguments
CALLS = {
    "nn": {
        **{name: {"input_size": 4, "hidden_size": 3} for name in ("RNN", "LSTM", "GRU")},
        "RTRL": {"cell": cell},
        "BCELoss": {},
        "BCEWithLogitsLoss": {},
        "BatchNorm1d": {"num_features": 4},
        "Conv1d": {"in_channels": 4, "out_channels": 4, "kernel_size": 2},
        "ELU": {},
        "Flatten": {},
        "GELU": {},
        "GLU": {},
        "GaussianNLLLoss": {},
        "GaussianNoise": {},
        "Hardtanh": {},
        "KLDivLoss": {},
        "LeakyReLU": {},
        "LogSoftmax": {},
        "PReLU": {},
        "QuantileLoss": {},
        "RMSNorm": {"normalized_shape": 4},
        "SmoothL1Loss": {},
        "Softmax": {},
        "Softplus": {},
        "accuracy": {"input": ROWS[0], "target": [1, 2]},
        "binary_cross_entropy": {"input": np.ones(3), "target": np.ones(3)},
        "gaussian_nll_loss": {"input": np.ones(3), "target": np.ones(3), "var": np.ones(3)},
        "kl_div": {"input": np.ones(3), "target": np.ones(3)},
        "quantile_loss": {"input": np.ones(3), "target": np.ones(3)},
        "smooth_l1_loss": {"input": np.ones(3), "target": np.ones(3)},
        "Bidirectional": {"cell_fw": cell, "cell_bw": cell},
        "CTCLoss": {},
        "CrossEntropyLoss": {},
        "Decoder": {"cell": cell},
        "Dropout": {},
        "Embedding": {"num_embeddings": 5, "embedding_dim": 3},
        "HuberLoss": {},
        "L1Loss": {},
        "LayerNorm": {"normalized_shape": 4},
        "Linear": {"in_features": 4, "out_features": 3},
        "LuongAttention": {"query_size": 4, "memory_size": 3},
        "MSELoss": {},
        "NLLLoss": {},
        "Parameter": {"data": lambda: np.ones(3)},
        "Recurrent": {"cell": cell},
        "LearnedInitialState": {"cell": cell},
        "Modifier": {"cell": cell},
        "Stacked": {"cells": lambda: [cell()]},
        "VariationalDropout": {"cell": cell},
        "WeightDrop": {"cell": cell, "p": 0.5},
        "Zoneout": {"cell": cell, "p": 0.5},
        "ModuleDict": {},
        "ModuleList": {},
        "binary_cross_entropy_with_logits": {"input": np.ones(3), "target": np.ones(3)},
        "cell_by_name": {"name": "gru"},
        "cross_entropy": {"input": ROWS[0], "target": [1, 2]},
        "ctc_beam_search": {"log_probs": PROBS},
        "ctc_greedy_decode": {"log_probs": PROBS},
        "ctc_loss": {"log_probs": PROBS, "targets": [[1], [2]], "input_lengths": [5, 5], "target_lengths": [1, 1]},
        "huber_loss": {"input": np.ones(3), "target": np.ones(3)},
        "l1_loss": {"input": np.ones(3), "target": np.ones(3)},
        "mse_loss": {"input": np.ones(3), "target": np.ones(3)},
        "nll_loss": {"input": ROWS[0], "target": [1, 2]},
        "beam_search": SEARCH | {"first": [0, 1], "max_length": 3},
        "greedy_search": SEARCH | {"first": [0, 1], "max_length": 3},
        "sample": SEARCH | {"prefix": [[0], [1]], "length": 3},
    },
    "nn.init": {
        name: {"tensor": weight}
        for name in ("kaiming_normal", "kaiming_uniform", "normal", "orthogonal", "uniform", "xavier_normal")
    }
    | {
        "xavier_uniform": {"tensor": weight},
        "constant": {"tensor": weight, "value": 1.0},
        "gain": {"nonlinearity": "relu"},
        "per_gate": {"init": lambda: nn.init.orthogonal, "n_gates": 4},
    },
    "optim": {
        **{
            name: {"params": lambda: [weight()]}
            for name in ("SGD", "Adagrad", "Adam", "AdamW", "LBFGS", "NAdam", "RMSprop")
        },
        "CosineAnnealingWarmRestarts": {"optimizer": optimizer, "T_0": 3},
        "OneCycleLR": {"optimizer": lambda: optim.SGD([weight()], momentum=0.9), "max_lr": 1.0, "total_steps": 9},
        "CosineAnnealingLR": {"optimizer": optimizer, "T_max": 3},
        "ExponentialLR": {"optimizer": optimizer, "gamma": 0.5},
        "LinearWarmup": {"optimizer": optimizer, "warmup_steps": 3},
        "MultiStepLR": {"optimizer": optimizer, "milestones": [3]},
        "ReduceLROnPlateau": {"optimizer": optimizer},
        "StepLR": {"optimizer": optimizer, "step_size": 3},
        "clip_grad_norm_": {"parameters": trained, "max_norm": 1.0},
        "clip_grad_value_": {"parameters": trained, "clip_value": 1.0},
    },
    "train": {
        "PrintEpochs": {"file": io.StringIO},
        "SaveCheckpoint": {"path": "run.safetensors"},
        "TrainStep": {"model": lambda: len, "optimizer": optimizer, "loss": lambda: nn.mse_loss},
        "Trainer": {"model": lambda: len, "optimizer": optimizer, "loss": lambda: nn.mse_loss},
        "TruncatedBPTT": {"inputs": ROWS, "targets": ROWS, "k1": 2},
        "confusion_matrix": {"targets": [0, 1], "predictions": [0, 1], "classes": 2},
    },
    "recurrent": {"scan": {"cell": cell, "xs": ROWS, "mode": "eager"}},
    "data": {
        "DataLoader": {"data": ROWS, "lengths": [3, 2, 1], "bucket": 2},
        "MinMaxScaler": {},
        "NGramModel": {"ids": [0, 1, 2, 0], "order": 2, "size": 3},
        "Vocabulary": {"sequences": [["a", "b"]]},
        "collate_sequences": {"examples": lambda: [([1, 2], [1, 2]), ([1], [1])]},
        "contiguous_batches": {"stream": np.arange(20), "batch_size": 2, "seq_len": 3},
        "find_period": {"series": np.sin(np.arange(40.0))},
        "log_mel": {"samples": np.sin(np.arange(4000.0)), "rate": 8000},
        "one_hot": {"indices": [0, 1], "depth": 3},
        "pad_sequences": {"sequences": [[1, 2], [3]]},
        "persistence": {"past": np.arange(4.0), "steps": 2},
        "roll_forward": {"predict": lambda: lambda window: window[-1:], "window": np.arange(4.0), "steps": 2},
        "seasonal_naive": {"past": np.arange(4.0), "period": 2, "steps": 2},
        "tokenize": {"text": "a b"},
        "walk_forward": {"length": 9, "first": 3, "horizon": 2},
        "windows": {"series": np.arange(9.0), "look_back": 3},
    },
    "testing": {
        "gradcheck": {"fn": lambda: tr.tanh, "inputs": lambda: [weight()]},
        "gradgradcheck": {"fn": lambda: tr.tanh, "inputs": lambda: [weight()]},
    },
    "viz": {},
}
CALLS["nn"] |= {
    name: {"input_size": 4, "hidden_size": 3}
    for name in nn.__all__
    if name.endswith("Cell") and name not in ("Cell", "Conv1dCell")
}
# names that have no options, or of which another room tests the files that it reads
OTHERS = {
    "nn": "Cell Module Sequential cell_names detach_state functional init load register_cell",
    "optim": "Optimizer Schedule",
    "train": "Best RecurrentRollout sweep",  # a result; what plays games, and what starts processes: their own tests do
    "data": "Note download read_class_folders read_column read_conll read_csv_columns read_idx read_midi read_pairs "
    "read_text read_wav write_midi write_wav",
    "testing": "check_cell",
    "viz": "GradientFlow gradient_flow",
}

# methods and calls of what was made
FURTHER = {
    "GRU.forward": (lambda **options: nn.GRU(4, 3, mode="eager")(ROWS, **options), RNNBase.forward),
    "Recurrent.forward": (lambda **options: nn.Recurrent(cell(), "eager")(ROWS, **options), nn.Recurrent.forward),
    "Bidirectional.forward": (
        lambda **options: nn.Bidirectional(cell(), cell(), mode="eager")(ROWS, **options),
        nn.Bidirectional.forward,
    ),
    "GRU.stepper": (nn.GRU(4, 3, mode="eager").stepper, RNNBase.stepper),
    "Recurrent.stepper": (nn.Recurrent(cell(), "eager").stepper, nn.Recurrent.stepper),
    "Trainer.fit": (fit, train.Trainer.fit),
    "Module.train": (nn.Linear(4, 3).train, nn.Module.train),
    "Module.requires_grad_": (nn.Linear(4, 3).requires_grad_, nn.Module.requires_grad_),
    "Module.load_state_dict": (
        lambda **options: nn.Linear(4, 3).load_state_dict(nn.Linear(4, 3).state_dict(), **options),
        nn.Module.load_state_dict,
    ),
    "Optimizer.step": (lambda **options: optimizer().step(**options), optim.Optimizer.step),
    "Optimizer.zero_grad": (lambda **options: optimizer().zero_grad(**options), optim.Optimizer.zero_grad),
    "ReduceLROnPlateau.step": (
        lambda **options: optim.ReduceLROnPlateau(optimizer()).step(**options),
        optim.ReduceLROnPlateau.step,
    ),
    "train_test_split": (
        lambda **options: data.train_test_split(ROWS, **options),
        data.train_test_split,
    ),
    "set_num_threads": (tr.set_num_threads, tr.set_num_threads),
}
KINDS = {"int", "bool", "str", "float", "int | None", "float | None", "bool | None", "str | None"}
KINDS |= {"tuple[float, float]", "int | tuple[int, ...]", "float | Iterable[float]", "Iterable[int]"}
KINDS |= {"int | Sequence[int] | None", "str | Sequence[str]"}

HUGE = 10**5000  # more digits than Python turns into text
ODD = {
    "array": lambda: np.array([1, 2]),
    "words": lambda: np.array(["mean", "sum"]),
    "empty array": lambda: np.zeros(0),
    "matrix": lambda: np.ones((50, 60)),
    "tensor": lambda: tr.tensor([1.0, 2.0]),
    "nan": lambda: float("nan"),
    "word": lambda: "no such word",
    "none": lambda: None,
    "bytes": lambda: b"mean",
    "wide": lambda: 2**61,
    "large": lambda: 10**30,
    "huge": lambda: HUGE,
    "negative": lambda: -HUGE,
    "complex": lambda: 1j,
    "dict": lambda: {"a": 1},
    "list": lambda: [[1, 2], [3]],
    "function": lambda: len,
    "type": lambda: int,
}
ALIASES = {"a": "slope"}  # as PyTorch and as the initialiser of gains call it
# what cannot be meant, by kind of option
NEVER = {"bool": {*ODD} - {"none"}, "int": {*ODD} - {"none", "wide", "large", "huge"}, "str": {*ODD} - {"none", "word"}}
NEVER["float"] = NEVER["int"] - {"nan"}


def public(room):
    """Names of a room that take options."""
    for name in getattr(ROOMS[room], "__all__", ()):
        value = getattr(ROOMS[room], name)
        if isinstance(value, type | types.FunctionType) and any(options_of(inspect.signature(value))):
            yield name


def calls():
    for room, entries in CALLS.items():
        for name, arguments in entries.items():
            function = getattr(ROOMS[room], name)
            yield f"{room}.{name}", function, inspect.signature(function), arguments
    for name, (function, signed) in FURTHER.items():
        yield name, function, inspect.signature(signed), {}


def options_of(signature):
    """Names and kinds of the options."""
    for name, p in signature.parameters.items():
        if p.annotation in KINDS or name in ("dtype", "init", "zoneout"):
            yield name, str(p.annotation).removesuffix(" | None")


def what_is_wrong(function, arguments, name, of, kind):
    """None, or how a call with one odd value ended that should have ended otherwise."""
    given = {k: v() if isinstance(v, types.FunctionType | type) else v for k, v in arguments.items()}
    try:
        function(**given | {name: ODD[kind]()})
    except (TypeError, ValueError, IndexError, OverflowError, OutOfMemoryError) as error:
        if kind == "wide" and re.search(r": got .*, wanted ", str(error)):  # too much of what it makes
            return None
        name = ALIASES.get(name, name)
        named = re.search(rf"\b{name}\b.*: (got|.*wanted)|\b{name}=.*wanted", str(error), re.DOTALL | re.IGNORECASE)
        return None if named else f"{type(error).__name__}: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "taken" if kind in NEVER.get(of, ()) else None


@pytest.mark.sampled(2)
@pytest.mark.parametrize(("function", "signature", "arguments"), [c[1:] for c in calls()], ids=[c[0] for c in calls()])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_odd_options(function, signature, arguments):
    found = []
    for name, of in options_of(signature):
        for kind in ODD:
            if name == "init" and kind in ("function", "type"):  # what a callable does is the user's
                continue
            wrong = what_is_wrong(function, arguments, name, of, kind)
            found += [f"{name}={kind}: {wrong[:150]}"] if wrong else []
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize("room", CALLS)
def test_no_public_name_is_left_out(room):
    called = {*CALLS["nn"], *CALLS[room], *OTHERS.get(room, "").split(), *(name.split(".")[0] for name in FURTHER)}
    assert {name for name in public(room) if name not in called} == set()


@pytest.mark.parametrize("arguments", [(1,), ("ab",), (cell(), cell()), ([cell(), 1],), ([],), ({"a": cell()},)])
def test_stacks_of_no_list_of_cells(arguments):
    with pytest.raises((TypeError, ValueError), match=r"^Stacked: cells.*: got .*, wanted "):
        nn.Stacked(*arguments)
