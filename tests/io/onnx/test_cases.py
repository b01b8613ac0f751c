"""The cases that ONNX ships with its definition: RNN, LSTM, GRU and Scan here, all others in the slow tests."""

import importlib
import warnings

import numpy as np
import pytest

from tinygrad_rnn.errors import CheckpointError

from .models import imported

cases = importlib.import_module("onnx.backend.test.case.node")


def cases_of(*files):
    """Cases that some files of the package hold."""
    before = len(cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in files:
            importlib.import_module(f"onnx.backend.test.case.node.{name}")
    return {case.name: case for case in cases._NodeTestCases[before:]}


RECURRENT = cases_of("rnn", "lstm", "gru", "scan")
SOME = [  # whose operators have several ways
    "argmax", "batch_normalization", "celu", "clip", "constantofshape", "cumsum", "div", "elu", "expand", "eyelike",
    "flatten", "gather", "gatherelements", "gathernd", "gelu", "gemm", "if_", "isinf", "layernormalization",
    "leakyrelu", "logsoftmax", "loop", "lpnormalization", "mod", "onehot", "pad", "pow", "prelu", "rangeop",
    "reducemax", "reduce_log_sum_exp", "reducel1", "reducesum", "reshape", "reversesequence", "rmsnormalization",
    "scatterelements", "selu", "shrink", "slice", "softmax", "split", "swish", "thresholdedrelu", "tile", "topk",
    "trilu", "hardsigmoid", "einsum",
]  # fmt: skip
OLD = {"test_scan_sum"}  # of opset 8


def check(case, tmp_path):
    module = imported(tmp_path, case.model)
    for inputs, outputs in case.data_sets:
        with np.errstate(all="ignore"):  # some are about infinities
            found = module(*inputs)
        for got, want in zip(found if isinstance(found, tuple) else (found,), outputs, strict=True):
            assert got.dtype == want.dtype
            np.testing.assert_allclose(got.numpy(), want, rtol=case.rtol, atol=max(case.atol, 1e-6))


@pytest.mark.parametrize("name", sorted(RECURRENT))
def test_recurrent(name, tmp_path):
    if name in OLD:
        with pytest.raises(CheckpointError, match="Scan: node that makes y, z: its form before opset 9"):
            imported(tmp_path, RECURRENT[name].model)
    else:
        check(RECURRENT[name], tmp_path)


def check_all(every, tmp_path):
    """Run all cases of known operators and dtypes; how many pass, how many are refused, and what is wrong."""
    from tinygrad_rnn.io.onnx.importing import KNOWN

    done, refused, wrong = 0, 0, {}
    for case in every:
        arrays = all(isinstance(x, np.ndarray | np.generic) for xs, _ in case.data_sets for x in xs)
        if not arrays or not {n.op_type for n in case.model.graph.node} <= KNOWN.keys():
            continue
        try:
            check(case, tmp_path)
            done += 1
        except CheckpointError:
            refused += 1
        except Exception as error:
            wrong[case.name] = str(error)
    assert wrong.keys() <= EXCEPTIONS
    return done, refused


def test_some_others(tmp_path):
    """Whatever can be imported computes what it should; the rest is refused when it is read."""
    done, refused = check_all(cases_of(*SOME).values(), tmp_path)
    assert done > 250
    assert refused < 60


@pytest.mark.slow
def test_all_others(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = cases.collect_testcases(None)
    done, refused = check_all(every, tmp_path)
    assert done > 900
    assert refused < 250


EXCEPTIONS = {  # they say so when they are called
    "test_gathernd_example_int32_batch_dim1",
    "test_reduce_max_empty_set_bool",
    *(f"test_training_dropout{end}" for end in ("", "_default", "_default_mask", "_mask")),
    *(f"test_training_dropout_zero_ratio{end}" for end in ("", "_mask")),
}
