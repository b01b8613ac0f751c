"""Names of PyTorch that are called otherwise here: each is answered, and each answer is true."""

import re

import numpy as np
import pytest

import tinygrad_rnn as tr
from tinygrad_rnn import foreign_names, nn, optim

TENSOR = tr.tensor([[1.0, 2.0], [3.0, 4.0]])
OWNERS = [
    (TENSOR, foreign_names.TENSOR),
    (tr, foreign_names.PACKAGE),
    (nn, foreign_names.NN),
    (nn.functional, foreign_names.FUNCTIONAL),
    (optim, foreign_names.OPTIM),
]
CASES = [pytest.param(owner, name, table[name], id=name) for owner, table in OWNERS for name in table]


@pytest.mark.parametrize(("owner", "name", "answer"), CASES)
def test_a_name_is_answered_with_one_that_is_there(owner, name, answer):
    assert not hasattr(owner, name)
    with pytest.raises(AttributeError, match=re.escape(f"has no attribute {name!r}; it is {answer}")):
        getattr(owner, name)
    for room, attribute in re.findall(r"(?<![\w.])(tr|t|nn|optim|np|nn\.functional)\.([A-Za-z_]\w*)", answer):
        places = {"tr": tr, "t": TENSOR, "nn": nn, "optim": optim, "np": np, "nn.functional": nn.functional}
        assert hasattr(places[room], attribute), answer


@pytest.mark.parametrize("owner", [tr, nn, nn.functional, optim, TENSOR])
def test_other_names_are_as_unknown_as_before(owner):
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        owner.nonsense
    assert not hasattr(owner, "__nonsense__")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: TENSOR.sum(dim=1), "sum: got the argument 'dim'; it is axis= here"),
        (lambda: TENSOR.mean(1, keepdim=True), "mean: got the argument 'keepdim'; it is keepdims= here"),
        (lambda: tr.softmax(TENSOR, dim=-1), "softmax: got the argument 'dim'; it is axis= here"),
        (lambda: tr.concat([TENSOR, TENSOR], dim=0), "concat: got the argument 'dim'; it is axis= here"),
        (lambda: tr.max(TENSOR, dim=0), "max: got the argument 'dim'; it is axis= here"),
        (lambda: nn.GRU(2, 3)(np.ones((4, 1, 2)), hx=None), "GRU: got the argument 'hx'; it is state= here"),
        (lambda: tr.zeros(2, 3), "dtype: got 3, wanted a NumPy dtype; a shape is one tuple"),
        (lambda: tr.randn(2, 3), "dtype: got 3, wanted a NumPy dtype; a shape is one tuple"),
    ],
)
def test_arguments_are_answered_too(call, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        call()


def test_what_python_says_of_other_arguments_stays():
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        tr.sum(TENSOR, nonsense=1)


def test_a_traced_step_is_answered_as_well():
    class Cell(nn.Cell):
        def __init__(self):
            self.input_size = self.hidden_size = 2

        def step(self, x, h):
            return x.unsqueeze(0), h

    for mode in ("eager", "auto"):
        with pytest.raises(AttributeError, match=r"it is tr.expand_dims\(t, axis\)"):
            nn.Recurrent(Cell(), mode=mode)(np.ones((3, 1, 2), np.float32))


def test_what_is_not_there_is_not_offered():
    assert not set(foreign_names.TENSOR) & set(dir(TENSOR))
    assert {"sum", "shape", "backward"} <= set(dir(TENSOR))


# ---- completeness

# What PyTorch's and NumPy's tensors have for other purposes: memory layouts, devices, complex and quantised numbers,
# sparse matrices, decompositions, special functions, and what is private but for its name.
OTHER_PURPOSES = """
    apply_ as_strided as_strided_ as_strided_scatter as_subclass bernoulli_ byteswap cauchy_ ccol_indices cdouble
    cfloat chalf cholesky_inverse cholesky_solve coalesce col_indices conj_physical conj_physical_ const_data_ptr
    crow_indices dense_dim dequantize diagonal_scatter digamma digamma_ dim_order exponential_ fill_diagonal_
    geometric_ geqrf ger getfield grad_dtype hardshrink hash_tensor igamma igamma_ igammac igammac_ index
    index_copy index_copy_ index_put_ index_reduce index_reduce_ int_repr ipu istft lu lu_solve log_normal_ map2_
    map_ matrix_exp module_load mtia mvlgamma mvlgamma_ name names narrow_copy new new_empty_strided
    nonzero_static orgqr ormqr output_nr polygamma polygamma_ put_ qscheme random_ record_stream reinforce resize_
    resize_as resize_as_ resolve_conj resolve_neg row_indices scatter_reduce scatter_reduce_ select_scatter set_
    setfield setflags slice_inverse slice_scatter smm sspaddmm stft storage_offset storage_type symeig to_device
    triangular_solve values volatile xpu t_
"""
PATTERNS = r"is_\w+|(to_)?(sparse|mkldnn|padded)_?\w*|q_\w+|unsafe_\w+|resize_as_sparse_"


def other_purpose(name) -> bool:
    return name in OTHER_PURPOSES.split() or re.fullmatch(PATTERNS, name) is not None


@pytest.mark.filterwarnings("ignore")
def test_names_of_tensors_are_complete():
    """Each is there, or answered, or for another purpose."""
    torch = pytest.importorskip("torch")
    names = {n for n in [*dir(torch.Tensor), *dir(np.ndarray)] if not n.startswith("_")}
    lost = {n for n in names if not hasattr(TENSOR, n) and n not in foreign_names.TENSOR}
    assert {n for n in lost if not other_purpose(n)} == set()


@pytest.mark.filterwarnings("ignore")
def test_names_of_functions_are_complete():
    """Methods of PyTorch's tensors, which are functions of torch too, and all functions of NumPy."""
    torch = pytest.importorskip("torch")
    of_numpy = {
        n for n in dir(np) if not n.startswith("_") and callable(getattr(np, n)) and n not in vars(np.exceptions)
    }
    of_numpy = {n for n in of_numpy if not isinstance(getattr(np, n), type)}
    of_torch = {n for n in dir(torch) if hasattr(torch.Tensor, n) and not n.startswith("_") and n[-1] != "_"}
    for name in of_numpy | of_torch:
        if not hasattr(tr, name) and not other_purpose(name):
            with pytest.raises(AttributeError, match=r"has no attribute .*; it is "):
                getattr(tr, name)


FAR = r"\w*([23]d|Lazy\w*|Unpool\w*|Pad\d|Shuffle|FractionalMax\w*)"  # pictures
FAR += r"|(Max|Avg|LP|AdaptiveMax|AdaptiveAvg)\w*|\w*Norm|Container|Fold|Unfold|Module\w*|FeatureAlphaDropout"
FAR += r"|PixelUnshuffle|TripletMarginWithDistanceLoss|LinearCrossEntropyLoss|NLLLoss2d|ConvTranspose1d"


def test_names_of_modules_and_optimisers_are_complete():
    torch = pytest.importorskip("torch")
    kinds = {n for n, c in vars(torch.nn).items() if isinstance(c, type) and issubclass(c, torch.nn.Module)}
    lost = {n for n in kinds if not hasattr(nn, n) and n not in foreign_names.NN}
    assert {n for n in lost if not re.fullmatch(FAR, n)} == set()
    kinds = {n for n, c in vars(torch.optim).items() if isinstance(c, type)}
    kinds |= {n for n in dir(torch.optim.lr_scheduler) if n.endswith("LR")}
    assert {n for n in kinds if not hasattr(optim, n) and n not in foreign_names.OPTIM} == set()
