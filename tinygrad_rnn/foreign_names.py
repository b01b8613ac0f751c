"""Names of PyTorch and NumPy that are called otherwise here, each with what to write instead.

One long table, which tests compare with the names that both have.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

TENSOR: dict[str, str] = {  # methods and attributes of tensors
    "H": "t.T",
    "absolute": "t.abs()",
    "acos": "tr.arccos(t)",
    "acosh": "tr.arccosh(t)",
    "add": "t + other",
    "add_": "t += value, inside tr.no_grad()",
    "addbmm": "t + (a @ b).sum(0)",
    "addcdiv": "t + value * (a / b)",
    "addcmul": "t + value * a * b",
    "addmm": "t + a @ b",
    "addmv": "t + a @ b",
    "addr": "t + np.outer(a, b)",
    "adjoint": "t.swapaxes(-1, -2)",
    "amax": "t.max(axis)",
    "amin": "t.min(axis)",
    "aminmax": "t.min(axis) and t.max(axis)",
    "asin": "tr.arcsin(t)",
    "asinh": "tr.arcsinh(t)",
    "atan": "tr.arctan(t)",
    "atan2": "tr.arctan2(t, other)",
    "atanh": "tr.arctanh(t)",
    "baddbmm": "t + a @ b",
    "base": "t.data.base",
    "bernoulli": "tr.distributions.Bernoulli(t).sample()",
    "bfloat16": 't.astype("float32"), the shortest floats',
    "bitwise_left_shift": "t << other",
    "bitwise_not": "~t",
    "bitwise_right_shift": "t >> other",
    "bmm": "t @ other",
    "bool": 't.astype("bool")',
    "byte": 't.astype("uint8")',
    "char": 't.astype("int8")',
    "chunk": "tr.array_split(t, chunks, axis)",
    "clamp": "tr.clip(t, min, max)",
    "clamp_max": "tr.clip(t, max=bound)",
    "clamp_min": "tr.clip(t, min=bound)",
    "clone": "t.copy()",
    "conj": "leave it out; tensors are real",
    "contiguous": "leave it out; operations take any layout",
    "cpu": "tensors are on the CPU: leave it out",
    "ctypes": "t.numpy().ctypes",
    "cuda": "there is no GPU: leave it out",
    "cummax": "np.maximum.accumulate(t.numpy(), axis)",
    "cummin": "np.minimum.accumulate(t.numpy(), axis)",
    "data_ptr": "t.numpy().ctypes.data",
    "detach_": "t.detach()",
    "device": "tensors are on the CPU",
    "diag": "tr.diagonal(t)",
    "diag_embed": "tr.eye(n) * tr.expand_dims(t, -1)",
    "dim": "t.ndim",
    "dist": "tr.norm(t - other)",
    "div": "t / other",
    "div_": "t /= value, inside tr.no_grad()",
    "divide": "t / other",
    "double": 't.astype("float64")',
    "dump": "pickle.dump(t, file)",
    "dumps": "pickle.dumps(t)",
    "element_size": "t.dtype.itemsize",
    "eq": "t == other",
    "equal": "np.array_equal(t, other); element by element t == other",
    "erfc": "1 - tr.erf(t)",
    "erfinv": "scipy.special.erfinv(t.numpy())",
    "expand": "tr.broadcast_to(t, shape)",
    "expand_as": "tr.broadcast_to(t, other.shape)",
    "fill": "t.fill_(value), inside tr.no_grad()",
    "fix": "tr.trunc(t)",
    "flags": "t.data.flags",
    "flat": "t.ravel()",
    "float": 't.astype("float32")',
    "floor_divide": "t // other",
    "fmod": "tr.remainder(t, other), with the sign of other",
    "frac": "t - tr.trunc(t)",
    "gather": "tr.take_along_axis(t, indices, axis)",
    "ge": "t >= other",
    "get_device": "tensors are on the CPU",
    "grad_fn": "t.is_leaf; viz.to_dot(t) draws the graph",
    "greater": "t > other",
    "greater_equal": "t >= other",
    "gt": "t > other",
    "half": 't.astype("float32"), the shortest floats',
    "histc": "np.histogram(t, bins)",
    "index_add": "t + tr.einsum('nv,n...->v...', tr.one_hot(indices, len(t)), source)",
    "index_fill": "tr.where(mask, value, t)",
    "index_put": "tr.where(mask, values, t)",
    "index_select": "tr.take(t, indices, axis)",
    "int": 't.astype("int32")',
    "inverse": "np.linalg.inv(t.numpy())",
    "is_complex": "leave it out; tensors are real",
    "is_contiguous": "leave it out; operations take any layout",
    "is_cpu": "tensors are on the CPU",
    "is_cuda": "there is no GPU: leave it out",
    "is_floating_point": 't.dtype.kind == "f"',
    "is_nonzero": "bool(t)",
    "is_same_size": "t.shape == other.shape",
    "is_signed": 't.dtype.kind in "if"',
    "is_sparse": "leave it out; all tensors are dense",
    "itemsize": "t.dtype.itemsize",
    "kthvalue": "tr.sort(t, axis)[..., k - 1]",
    "layout": "leave it out; all tensors are dense",
    "le": "t <= other",
    "lerp": "t + weight * (end - t)",
    "less": "t < other",
    "less_equal": "t <= other",
    "lgamma": "scipy.special.gammaln(t.numpy())",
    "logaddexp2": "tr.logaddexp(t, other), of other bases",
    "logcumsumexp": "tr.log(tr.cumsum(tr.exp(t), axis)), after the maximum is subtracted",
    "logdet": "np.linalg.slogdet(t.numpy())",
    "logit": "tr.log(t) - tr.log(1 - t)",
    "logsumexp": "tr.logsumexp(t, axis)",
    "long": 't.astype("int64")',
    "lt": "t < other",
    "mH": "t.swapaxes(-1, -2)",
    "mT": "t.swapaxes(-1, -2)",
    "masked_fill": "tr.where(mask, value, t)",
    "masked_scatter": "tr.where(mask, values, t)",
    "masked_select": "t[mask]",
    "matrix_power": "np.linalg.matrix_power(t.numpy(), n)",
    "mm": "t @ other",
    "mode": "np.unique(t.numpy(), return_counts=True)",
    "movedim": "tr.moveaxis(t, source, destination)",
    "msort": "tr.sort(t, 0)",
    "mul": "t * other",
    "mul_": "t *= value, inside tr.no_grad()",
    "multinomial": "tr.distributions.Categorical(t).sample(shape)",
    "multiply": "t * other",
    "mv": "t @ other",
    "nansum": "tr.sum(tr.nan_to_num(t))",
    "narrow": "t[start:stop]",
    "nbytes": "t.data.nbytes",
    "ndimension": "t.ndim",
    "ne": "t != other",
    "neg": "-t",
    "negative": "-t",
    "nelement": "t.size",
    "new_empty": "tr.zeros(shape, dtype=t.dtype)",
    "new_full": "tr.full(shape, value, dtype=t.dtype)",
    "new_ones": "tr.ones(shape, dtype=t.dtype)",
    "new_tensor": "tr.tensor(data, dtype=t.dtype)",
    "new_zeros": "tr.zeros(shape, dtype=t.dtype)",
    "norm": "tr.norm(t)",
    "normal_": "nn.init.normal(parameter, mean, std)",
    "not_equal": "t != other",
    "numel": "t.size",
    "permute": "t.transpose(*axes)",
    "pin_memory": "tensors are on the CPU: leave it out",
    "pinverse": "np.linalg.pinv(t.numpy())",
    "positive": "+t",
    "pow": "t ** exponent",
    "pow_": "t **= value, inside tr.no_grad()",
    "prelu": "nn.PReLU()",
    "put": "tr.where(mask, values, t)",
    "register_post_accumulate_grad_hook": "t.register_hook(hook)",
    "remainder": "t % other",
    "renorm": "t * (bound / tr.norm(t, axis=axis, keepdims=True))",
    "repeat_interleave": "t.repeat(repeats, axis)",
    "reshape_as": "t.reshape(other.shape)",
    "resize": "t.reshape(shape)",
    "retains_grad": "t.grad, after t.retain_grad()",
    "rsqrt": "1 / tr.sqrt(t)",
    "scatter": "tr.where(tr.one_hot(indices, n) == 1, value, t)",
    "scatter_add": "t + tr.einsum('nv,n...->v...', tr.one_hot(indices, len(t)), source)",
    "select": "t[index]",
    "sgn": "tr.sign(t)",
    "share_memory_": "leave it out",
    "short": 't.astype("int16")',
    "softmax": "tr.softmax(t, axis)",
    "split": "tr.split(t, indices, axis)",
    "split_with_sizes": "tr.split(t, indices, axis)",
    "storage": "t.numpy()",
    "stride": "t.data.strides",
    "strides": "t.data.strides",
    "sub": "t - other",
    "sub_": "t -= value, inside tr.no_grad()",
    "subtract": "t - other",
    "sum_to_size": "t.sum(axis)",
    "swapdims": "t.swapaxes(a, b)",
    "t": "t.T",
    "take_along_dim": "tr.take_along_axis(t, indices, axis)",
    "tensor_split": "tr.array_split(t, sections, axis)",
    "to": "t.astype(dtype); tensors are on the CPU",
    "to_dense": "leave it out; all tensors are dense",
    "tobytes": "t.numpy().tobytes()",
    "tofile": "t.numpy().tofile(file)",
    "true_divide": "t / other",
    "type": "t.astype(dtype), or t.dtype",
    "type_as": "t.astype(other.dtype)",
    "unbind": "tr.unstack(t, axis)",
    "unflatten": "t.reshape(shape)",
    "unfold": "tr.stack([t[i : i + size] for i in starts])",
    "uniform_": "nn.init.uniform(parameter, low, high)",
    "unique_consecutive": "np.unique(t.numpy())",
    "unsqueeze": "tr.expand_dims(t, axis)",
    "untyped_storage": "t.numpy()",
    "vdot": "t.ravel() @ other.ravel()",
    "view": "t.reshape(shape)",
    "view_as": "t.reshape(other.shape)",
    "view_as_real": "leave it out; tensors are real",
    "where": "tr.where(condition, t, other)",
    "xlogy": "tr.where(t == 0, 0.0, t * tr.log(other))",
}

_FUNCTIONS = """
    arccos arccosh arcsin arcsinh arctan arctan2 arctanh bitwise_and bitwise_or bitwise_xor broadcast_to cosh diff
    erf exp2 flip hypot isfinite isinf isnan log10 log2 log_softmax logaddexp logical_and logical_not logical_or
    logical_xor matmul maximum median minimum moveaxis nan_to_num outer reciprocal roll sinh sort square tan tile
    topk tril triu trunc
"""
_OF_NUMPY = """
    allclose angle argpartition argwhere bincount choose compress conjugate copysign corrcoef count_nonzero cov
    cross deg2rad diagflat dsplit fliplr flipud float_power fmax fmin frexp gcd heaviside histogram hsplit i0 imag
    indices inner isclose isneginf isposinf isreal kron lcm ldexp nanmean nanmedian nanquantile nextafter nonzero
    partition quantile rad2deg real rot90 searchsorted signbit sinc unique vsplit
"""
_LINALG = "cholesky det eig lstsq qr slogdet solve svd"
_IN_PLACE = """
    abs absolute acos acosh addbmm addcdiv addcmul addmm addmv addr arccos arccosh arcsin arcsinh arctan arctan2
    arctanh asin asinh atan atan2 atanh baddbmm bernoulli bitwise_and bitwise_left_shift bitwise_not bitwise_or
    bitwise_right_shift bitwise_xor ceil clamp clamp_max clamp_min clip copysign cos cosh cumprod cumsum deg2rad
    divide eq erf erfc erfinv exp exp2 expm1 fix float_power floor floor_divide fmod frac gcd ge greater
    greater_equal gt heaviside hypot i0 index_add index_fill index_put lcm ldexp le lerp less less_equal lgamma log
    log10 log1p log2 logical_and logical_not logical_or logical_xor logit lt masked_fill masked_scatter multiply
    nan_to_num ne neg negative nextafter not_equal rad2deg reciprocal relu remainder renorm resize round rsqrt
    scatter scatter_add sgn sigmoid sign sin sinc sinh sqrt square squeeze subtract swapaxes swapdims tan tanh
    transpose tril triu true_divide trunc unsqueeze xlogy
"""
TENSOR |= {name: f"tr.{name}(t)" for name in _FUNCTIONS.split()}
TENSOR |= {name: f"np.{name}(t)" for name in _OF_NUMPY.split()}
TENSOR |= {name: f"np.linalg.{name}(t.numpy()), without gradients" for name in _LINALG.split()}
TENSOR |= {f"{name}_": "t.copy_(value), inside tr.no_grad()" for name in _IN_PLACE.split()}

PACKAGE: dict[str, str] = {  # functions of torch and numpy, sought in tinygrad_rnn
    "amax": "tr.max(t, axis)",
    "amin": "tr.min(t, axis)",
    "array": "tr.tensor(data)",
    "asarray": "tr.as_tensor(data)",
    "autograd": "tr.grad(outputs, inputs)",
    "batch_norm": "nn.BatchNorm1d",
    "bfloat16": '"float32", the shortest floats',
    "binary_cross_entropy_with_logits": "nn.functional.binary_cross_entropy_with_logits",
    "block_diag": "tr.zeros and t[a:b, c:d] = values",
    "bmm": "tr.matmul(a, b)",
    "bool": '"bool", or np.bool_',
    "broadcast_tensors": "np.broadcast_arrays(a, b)",
    "cat": "tr.concat(tensors, axis)",
    "celu": "tr.elu(t, alpha)",
    "chain_matmul": "np.linalg.multi_dot(matrices)",
    "chunk": "tr.split(t, sections, axis)",
    "clamp": "tr.clip(t, min, max)",
    "clone": "tr.copy(t)",
    "column_stack": "np.column_stack(tensors)",
    "concatenate": "tr.concat(tensors, axis)",
    "conv1d": "nn.Conv1d",
    "ctc_loss": "nn.functional.ctc_loss",
    "cuda": "there is no GPU: leave it out",
    "detach": "t.detach()",
    "device": "tensors are on the CPU: leave it out",
    "div": "tr.divide(a, b)",
    "double": '"float64", or np.float64',
    "dropout": "nn.functional.dropout",
    "dtype": "np.dtype",
    "empty": "tr.zeros(shape)",
    "empty_like": "tr.zeros_like(t)",
    "flatten": "t.flatten()",
    "float": '"float32", or np.float32',
    "float16": '"float32", the shortest floats',
    "float32": '"float32", or np.float32',
    "float64": '"float64", or np.float64',
    "from_dlpack": "tr.as_tensor(np.from_dlpack(x))",
    "from_numpy": "tr.as_tensor(array)",
    "get_rng_state": "tr.seed(n)",
    "gru": "nn.GRU",
    "gru_cell": "nn.GRUCell",
    "half": '"float32", the shortest floats',
    "inference_mode": "tr.no_grad()",
    "initial_seed": "tr.seed(n)",
    "int": '"int32", or np.int32',
    "int32": '"int32", or np.int32',
    "int64": '"int64", or np.int64',
    "is_tensor": "isinstance(x, tr.Tensor)",
    "jit": "tr.compile(function)",
    "kl_div": "nn.functional.kl_div",
    "layer_norm": "nn.functional.layer_norm",
    "load": "nn.load(module, path)",
    "logspace": "np.logspace(start, stop, n)",
    "long": '"int64", or np.int64',
    "lstm": "nn.LSTM",
    "lstm_cell": "nn.LSTMCell",
    "manual_seed": "tr.seed(n)",
    "masked_fill": "tr.where(mask, value, t)",
    "mm": "tr.matmul(a, b)",
    "movedim": "tr.moveaxis(t, source, destination)",
    "mul": "tr.multiply(a, b)",
    "neg": "tr.negative(t)",
    "normal": "tr.distributions.Normal(mean, std).sample(shape)",
    "numel": "t.size",
    "permute": "tr.transpose(t, axes)",
    "pow": "tr.power(t, exponent)",
    "prelu": "nn.PReLU",
    "rand_like": "tr.rand(t.shape)",
    "randint": "np.random.default_rng(seed).integers(low, high, shape)",
    "randn_like": "tr.randn(t.shape)",
    "randperm": "np.random.default_rng(seed).permutation(n)",
    "range": "tr.arange(start, stop)",
    "rms_norm": "nn.RMSNorm",
    "rnn_relu": "nn.RNN",
    "rnn_tanh": "nn.RNN",
    "row_stack": "tr.vstack(tensors)",
    "rsub": "other - t",
    "save": "nn.save(module, path)",
    "scalar_tensor": "tr.tensor(number)",
    "set_printoptions": "np.set_printoptions",
    "set_rng_state": "tr.seed(n)",
    "softmin": "tr.softmax(-t, axis)",
    "std_mean": "tr.std(t, axis) and tr.mean(t, axis)",
    "sub": "tr.subtract(a, b)",
    "tril_indices": "np.tril_indices(n)",
    "triu_indices": "np.triu_indices(n)",
    "true_divide": "tr.divide(a, b)",
    "unsqueeze": "tr.expand_dims(t, axis)",
    "var_mean": "tr.var(t, axis) and tr.mean(t, axis)",
    "view": "tr.reshape(t, shape)",
    "vmap": "leave it out; operations take leading axes",
}

NN: dict[str, str] = {  # modules of torch.nn
    "AdaptiveAvgPool1d": "tr.mean(x, 0)",
    "AdaptiveLogSoftmaxWithLoss": "nn.CrossEntropyLoss",
    "AdaptiveMaxPool1d": "tr.max(x, 0)",
    "AlphaDropout": "nn.Dropout",
    "AvgPool1d": "tr.mean(x.reshape(shape), axis)",
    "BatchNorm2d": "nn.BatchNorm1d, of the last axis",
    "Bilinear": "tr.einsum('bi,kij,bj->bk', a, weight, b)",
    "Buffer": "module.register_buffer(name, value)",
    "CELU": "nn.ELU",
    "CircularPad1d": 'tr.pad(x, pad_width, "wrap")',
    "ConstantPad1d": "tr.pad(x, pad_width)",
    "Conv2d": "nn.Conv1d, along time",
    "CosineEmbeddingLoss": "tr.relu of margins between similarities",
    "CosineSimilarity": "(a * b).sum(-1) / (tr.norm(a, axis=-1) * tr.norm(b, axis=-1))",
    "DataParallel": "leave it out; batches use all cores",
    "Dropout1d": "nn.VariationalDropout, of a cell",
    "EmbeddingBag": "nn.Embedding, and then .mean(0)",
    "GroupNorm": "nn.LayerNorm, of one group",
    "Hardshrink": "tr.where(tr.abs(x) > lambd, x, 0)",
    "HingeEmbeddingLoss": "tr.relu(margin - x).mean()",
    "InstanceNorm1d": "nn.LayerNorm",
    "MarginRankingLoss": "tr.relu(margin - target * (a - b)).mean()",
    "MaxPool1d": "tr.max(x.reshape(shape), axis)",
    "MultiLabelMarginLoss": "nn.BCEWithLogitsLoss",
    "MultiLabelSoftMarginLoss": "nn.BCEWithLogitsLoss",
    "MultiMarginLoss": "nn.CrossEntropyLoss",
    "MultiheadAttention": "nn.LuongAttention, which has one head",
    "PairwiseDistance": "tr.norm(a - b, axis=-1)",
    "ParameterDict": "nn.ModuleDict, or one attribute for each",
    "PoissonNLLLoss": "tr.mean(tr.exp(input) - target * input)",
    "RNNBase": "nn.Recurrent",
    "RNNCellBase": "nn.Cell",
    "RReLU": "nn.LeakyReLU",
    "ReflectionPad1d": 'tr.pad(x, pad_width, "reflect")',
    "ReplicationPad1d": 'tr.pad(x, pad_width, "edge")',
    "SoftMarginLoss": "tr.softplus(-target * x).mean()",
    "Softmin": "tr.softmax(-x)",
    "Softshrink": "tr.where(tr.abs(x) > lambd, x - lambd * tr.sign(x), 0)",
    "Softsign": "x / (1 + tr.abs(x))",
    "Tanhshrink": "x - tr.tanh(x)",
    "Threshold": "tr.where(x > threshold, x, value)",
    "Transformer": "nn.LuongAttention; this is for recurrent networks",
    "TransformerDecoder": "nn.LSTM; this is for recurrent networks",
    "TransformerDecoderLayer": "nn.LSTM; this is for recurrent networks",
    "TransformerEncoder": "nn.LSTM; this is for recurrent networks",
    "TransformerEncoderLayer": "nn.LSTM; this is for recurrent networks",
    "TripletMarginLoss": "tr.relu(near - far + margin).mean()",
    "Unflatten": "tr.reshape",
    "UninitializedParameter": "nn.Parameter",
    "Upsample": "tr.repeat(x, n, axis)",
    "ZeroPad1d": "tr.pad(x, pad_width)",
    "attention": "nn.LuongAttention",
    "utils": "optim.clip_grad_norm_ for clipping; layers take lengths= in the place of packed sequences",
}

FUNCTIONAL: dict[str, str] = {  # functions of torch.nn.functional
    "avg_pool1d": "tr.mean(x.reshape(shape), axis)",
    "batch_norm": "nn.BatchNorm1d",
    "bilinear": "tr.einsum('bi,kij,bj->bk', a, weight, b)",
    "celu": "tr.elu(x, alpha)",
    "conv1d": "nn.Conv1d",
    "cosine_similarity": "(a * b).sum(-1) / (tr.norm(a, axis=-1) * tr.norm(b, axis=-1))",
    "dropout": "the layer nn.Dropout",
    "embedding": "tr.embedding(table, ids)",
    "embedding_bag": "tr.embedding(table, ids).mean(0)",
    "group_norm": "nn.LayerNorm, of one group",
    "gumbel_softmax": "tr.softmax((x - tr.log(-tr.log(tr.rand(x.shape)))) / tau)",
    "hardshrink": "tr.where(tr.abs(x) > lambd, x, 0)",
    "hardsigmoid": "tr.hard_sigmoid",
    "hardswish": "tr.hard_swish",
    "hardtanh": "tr.hard_tanh",
    "interpolate": "tr.repeat(x, n, axis)",
    "logsigmoid": "tr.log_sigmoid",
    "margin_ranking_loss": "tr.relu(margin - target * (a - b)).mean()",
    "max_pool1d": "tr.max(x.reshape(shape), axis)",
    "multi_head_attention_forward": "nn.LuongAttention",
    "normalize": "x / tr.norm(x, axis=-1, keepdims=True)",
    "pad": "tr.pad",
    "pairwise_distance": "tr.norm(a - b, axis=-1)",
    "poisson_nll_loss": "tr.mean(tr.exp(input) - target * input)",
    "prelu": "nn.PReLU",
    "rms_norm": "nn.RMSNorm",
    "scaled_dot_product_attention": "nn.LuongAttention",
    "soft_margin_loss": "tr.softplus(-target * x).mean()",
    "softmin": "tr.softmax(-x)",
    "softshrink": "tr.where(tr.abs(x) > lambd, x - lambd * tr.sign(x), 0)",
    "softsign": "x / (1 + tr.abs(x))",
    "tanhshrink": "x - tr.tanh(x)",
    "threshold": "tr.where(x > threshold, x, value)",
    "triplet_margin_loss": "tr.relu(near - far + margin).mean()",
    "unfold": "tr.stack of slices",
}

OPTIM: dict[str, str] = {  # of torch.optim
    "ASGD": "optim.SGD",
    "Adadelta": "optim.RMSprop; docs/extending.md writes Adadelta",
    "Adafactor": "optim.Adam",
    "Adamax": "optim.Adam",
    "ChainedScheduler": "several schedules, each with its own step()",
    "ConstantLR": "optim.LambdaLR(optimizer, lambda epoch: factor)",
    "CyclicLR": "optim.OneCycleLR",
    "LinearLR": "optim.LinearWarmup",
    "MultiplicativeLR": "optim.LambdaLR",
    "Muon": "optim.AdamW",
    "PolynomialLR": "optim.LambdaLR(optimizer, lambda epoch: (1 - epoch / total) ** power)",
    "RAdam": "optim.NAdam, or optim.Adam after optim.LinearWarmup",
    "Rprop": "optim.LBFGS, for whole batches",
    "SparseAdam": "optim.Adam",
    "lr_scheduler": "the schedules stand in tinygrad_rnn.optim itself",
    "swa_utils": "optim.SGD; average the state_dict() of several checkpoints",
}

ARGUMENTS: Mapping[str, str] = {"dim": "axis", "keepdim": "keepdims", "hx": "state"}  # of functions and layers


def missing(owner: str, name: str, table: Mapping[str, str]) -> AttributeError:
    """The error for an attribute that `owner` lacks, with what to write instead if that is known."""
    text = f"{owner} has no attribute {name!r}"
    return AttributeError(f"{text}; it is {table[name]}" if name in table else text)


def function_of_numpy(name: str) -> str | None:
    """What to write for a function of NumPy that is sought in this package."""
    function = getattr(np, name, None)
    if name.startswith("_") or not callable(function) or isinstance(function, type):
        return None
    return f"np.{name}, which takes tensors as they are"


class Elsewhere:
    """A name of a class that stands for no attribute, but has an answer."""

    def __init__(self, owner: str, name: str, table: Mapping[str, str]):
        self.owner, self.name, self.table = owner, name, table

    def __get__(self, instance: Any, owner: type) -> Elsewhere:
        if instance is None:
            return self
        raise missing(self.owner, self.name, self.table)


def check_arguments(function: str, given: Mapping[str, Any]) -> None:
    """Raise TypeError if an argument has PyTorch's name."""
    for name in given:
        if name in ARGUMENTS:
            raise TypeError(f"{function}: got the argument {name!r}; it is {ARGUMENTS[name]}= here")


def answering(function: Callable) -> Callable:
    """The function with an answer for arguments that have PyTorch's names."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        if kwargs and not ARGUMENTS.keys().isdisjoint(kwargs):
            check_arguments(function.__name__, kwargs)
        return function(*args, **kwargs)

    return call
