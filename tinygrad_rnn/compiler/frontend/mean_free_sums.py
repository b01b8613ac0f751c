"""Drops mean-centred terms from row sums: the gradient of a layer norm takes one pass, not two.

With ``c = x - mean(x)``, the sum of ``u + s * c`` over features is that of `u`, if `s` is one number for the row.
Written down as the chain rule gives it, the gradient by the mean waits for `s`, the gradient by the variance. Without
`c` both are known after the same pass.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from ..ir.program_ops import ADD, BROADCAST_ROW, CONSTANT, DIVIDE, MULTIPLY, NEGATIVE, SUBTRACT, SUM
from ..ir.symbol import Symbol

MANY = 500  # terms; looking at more is not worth the time

MINUS = ("number", -1.0)  # a factor; others are ("value", uid)
Term = tuple[tuple, int]  # of a linear combination: what it is multiplied by, and the uid of the value


def drop_mean_centred_terms(x: Symbol) -> Symbol | None:
    """A value with the same sum over features as `x`, but for rounding, without terms that sum to zero.

    Returns
    -------
    Symbol or None
        `x` itself if there is nothing to leave out; None if nothing is left.
    """
    terms = _terms(x)
    count = Counter((factors, s.uid) for factors, s in terms)
    alike: dict[tuple, dict[int, Symbol]] = defaultdict(dict)  # that have one factor, and one mean subtracted
    for factors, s in terms:
        base = s
        while _is_difference(base) and base.args[1].op is CONSTANT:  # but rounding: what a mean has left over
            base = base.args[0]
        if _is_difference(base):
            alike[factors, base.args[1].uid][s.uid] = base
    drop: set[Term] = set()
    for (factors, _), pieces in alike.items():
        # all pieces equally often, or what is left of them would not sum to zero
        if len({count[factors, uid] for uid in pieces}) == 1 and _is_centred(list(pieces.values())):
            drop |= {(factors, uid) for uid in pieces}
    return _prune(x, (), drop) if drop else x


def _is_number(a: Any) -> bool:
    """Whether a value is one number for all features of a row."""
    return isinstance(a, Symbol) and a.varying and (a.width == 1 or a.op is BROADCAST_ROW)


def _is_difference(s: Symbol) -> bool:
    """Whether `s` is a value minus one number for all of its features."""
    return s.op is SUBTRACT and isinstance(s.args[0], Symbol) and _is_number(s.args[1])


def _split(s: Symbol) -> tuple[Any, Symbol] | None:
    """(factor that is the same for all features of a row, other operand); None for no such product."""
    if s.op is MULTIPLY:
        for factor, rest in (s.args, s.args[::-1]):
            alike = not isinstance(factor, Symbol) or _is_number(factor)
            if alike and isinstance(rest, Symbol) and rest.varying and rest.shape == s.shape:
                return factor, rest
    return None


def _inner(s: Symbol, factors: tuple) -> list[tuple[tuple, Symbol]]:
    """The terms that `s` consists of, one level down; none if it is a term itself."""
    found = _split(s)
    if found is not None:
        factor, rest = found
        key = ("value", factor.uid) if isinstance(factor, Symbol) else ("number", float(factor))
        return [((*factors, key), rest)]
    if s.op is NEGATIVE:
        return [((*factors, MINUS), s.args[0])]
    whole = all(isinstance(a, Symbol) and a.varying and a.shape == s.shape and not _is_number(a) for a in s.args)
    if s.op in (ADD, SUBTRACT) and whole:
        second = factors if s.op is ADD else (*factors, MINUS)
        return [(factors, s.args[0]), (second, s.args[1])]
    return []


def _terms(x: Symbol) -> list[tuple[tuple, Symbol]]:
    """The terms of a linear combination; none if there are too many."""
    found, stack = [], [((), x)]
    while stack:  # without recursion: a step may be long
        factors, s = stack.pop()
        inner = _inner(s, factors)
        stack += inner
        if not inner:
            found.append((factors, s))
        if len(found) + len(stack) > MANY:
            return []
    return found


def _is_centred(pieces: list[Symbol]) -> bool:
    """Whether the pieces are ``x_i - m``, where m is the mean of all x_i together."""
    mean, width = pieces[0].args[1], pieces[0].width
    if mean.op is MULTIPLY:
        candidates = [mean.args, mean.args[::-1]]
    elif mean.op is DIVIDE and not isinstance(mean.args[1], Symbol):
        candidates = [(mean.args[0], 1.0 / mean.args[1])]
    else:
        return False
    for total, scale in candidates:
        if isinstance(total, Symbol) and total.op is SUM and total.width == 1 and not isinstance(scale, Symbol):
            summed, together = (_terms(total.args[0]), [term for s in pieces for term in _terms(s.args[0])])
            same = Counter((f, s.uid) for f, s in summed) == Counter((f, s.uid) for f, s in together)
            # a mean may be written as a product with 1 / n, which has been rounded
            return same and bool(summed) and abs(scale * len(pieces) * width - 1) < 1e-6
    return False


def _prune(s: Symbol, factors: tuple, drop: set[Term]) -> Symbol | None:
    """The linear combination without the terms in `drop`; None if nothing is left."""
    if (factors, s.uid) in drop:
        return None
    inner = _inner(s, factors)
    kept = [_prune(a, f, drop) for f, a in inner]
    if all(a is b for a, (_, b) in zip(kept, inner)):
        return s
    first: Any = kept[0]
    if len(kept) == 1:
        found = _split(s)
        return None if first is None else -first if found is None else first * found[0]
    second: Any = kept[1]
    if second is None:
        return first
    if s.op is ADD:
        return second if first is None else first + second
    return -second if first is None else first - second
