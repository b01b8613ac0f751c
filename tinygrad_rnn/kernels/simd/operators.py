"""The operators of vectors and masks.

They are typing templates rather than overloads: nothing is compiled per operator, so they are free for
the caller.
"""

import operator

from numba import types
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from .types import Mask, Vec, as_vec, vec_of


def _register(operation, kinds, result, emit):
    """Let `operation` take two lane types of the class `kinds` (or one and a number, for vectors)."""

    class Template(AbstractTemplate):
        key = operation

        def generic(self, args, kws):
            if kws or not any(isinstance(a, kinds) for a in args):
                return None
            if not all(isinstance(a, kinds) or (kinds is Vec and isinstance(a, types.Number)) for a in args):
                return None
            vec = vec_of(*args)
            return None if vec is None else signature(result(vec.dtype), *args)

    infer_global(operation)(Template)

    def lower(context, builder, sig, args):
        if kinds is Vec:
            vec = vec_of(*sig.args)
            args = [as_vec(context, builder, a, t, vec) for a, t in zip(args, sig.args)]
        return emit(builder, *args)

    return lower


def _register_binary(operation, emit, result=Vec, inplace=None):
    for op in (operation, inplace):
        if op is not None:
            lower = _register(op, Vec, result, emit)
            for pair in ((Vec, Vec), (Vec, types.Number), (types.Number, Vec)):
                lower_builtin(op, *pair)(lower)


_register_binary(operator.add, lambda b, x, y: b.fadd(x, y), inplace=operator.iadd)
_register_binary(operator.sub, lambda b, x, y: b.fsub(x, y), inplace=operator.isub)
_register_binary(operator.mul, lambda b, x, y: b.fmul(x, y), inplace=operator.imul)
_register_binary(operator.truediv, lambda b, x, y: b.fdiv(x, y), inplace=operator.itruediv)
for _op, _sign in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "==")):
    _register_binary(getattr(operator, _op), lambda b, x, y, s=_sign: b.fcmp_ordered(s, x, y), result=Mask)
_register_binary(operator.ne, lambda b, x, y: b.fcmp_unordered("!=", x, y), result=Mask)
lower_builtin(operator.neg, Vec)(_register(operator.neg, Vec, Vec, lambda b, v: b.fneg(v)))
lower_builtin(operator.pos, Vec)(_register(operator.pos, Vec, Vec, lambda b, v: v))
for _op, _emit in (("and_", "and_"), ("or_", "or_"), ("xor", "xor")):
    lower_builtin(getattr(operator, _op), Mask, Mask)(
        _register(getattr(operator, _op), Mask, Mask, lambda b, x, y, e=_emit: getattr(b, e)(x, y))
    )
lower_builtin(operator.invert, Mask)(_register(operator.invert, Mask, Mask, lambda b, m: b.not_(m)))
