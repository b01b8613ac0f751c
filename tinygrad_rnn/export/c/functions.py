"""Elementary functions in C: exp, tanh, sigmoid and their kin, for loops that compilers vectorise.

They are those of :mod:`tinygrad_rnn.kernels.simd.mathfn`, with its coefficients, and within 4 units in the last place
as they are. There are no branches, so a loop that calls them becomes vectors without fast-math; a choice is made on
the bits of both sides, as compilers do not compute floats that they may not need.

The texts are templates: ``REAL`` and ``BITS`` are the types, ``F_name`` is another of these functions, ``C(number)`` is
a literal, ``POLY(x, NAME)`` the polynomial of that name, and words in capitals are constants of the dtype.
"""

from __future__ import annotations

import math
import re

import numpy as np

from ...kernels.simd import mathfn

LN2, LOG2_E = math.log(2.0), 1.0 / math.log(2.0)
LIBM = (
    "exp",
    "expm1",
    "log",
    "log1p",
    "tanh",
    "erf",
    "sin",
    "cos",
    "sqrt",
    "power",
    "arctan",
    "arctan2",
)  # which the C library has
TEXTS: dict[str, str] = {
    "bits": "BITS F_bits(REAL x) { BITS b; memcpy(&b, &x, sizeof b); return b; }",
    "real": "REAL F_real(BITS b) { REAL x; memcpy(&x, &b, sizeof x); return x; }",
    "mask": "BITS F_mask(int yes) { return (BITS)0 - (BITS)yes; }",
    "select": "REAL F_select(BITS m, REAL a, REAL b) { return F_real((F_bits(a) & m) | (F_bits(b) & ~m)); }",
    "abs": "REAL F_abs(REAL x) { return F_real(F_bits(x) & ~SIGN); }",
    "copysign": "REAL F_copysign(REAL x, REAL s) { return F_real((F_bits(x) & ~SIGN) | (F_bits(s) & SIGN)); }",
    "max": "REAL F_max(REAL a, REAL b) { return F_select(F_mask(a > b) | F_mask(a != a), a, b); }",
    "min": "REAL F_min(REAL a, REAL b) { return F_select(F_mask(a < b) | F_mask(a != a), a, b); }",
    "clamp": """REAL F_clamp(REAL x, REAL low, REAL high) {
    x = F_select(F_mask(low > x), low, x);
    return F_select(F_mask(high < x), high, x);
}""",
    "whole": """int32_t F_whole(REAL x) {
    return x > C(-2147483649.0) && x < C(2147483648.0) ? (int32_t)x : 0;
}""",
    "index": "int32_t F_index(REAL x, int32_t n) { return x >= C(0.0) && x < (REAL)n ? (int32_t)x : 0; }",
    "bits_of_both": """REAL F_bits_of_both(REAL a, REAL b) {
    const REAL c = F_select(F_mask(F_abs(a) < WHOLE), a, C(0.0)), d = F_select(F_mask(F_abs(b) < WHOLE), b, C(0.0));
    return (REAL)((int64_t)c & (int64_t)d);
}""",
    "round": """REAL F_round(REAL x) {
    const REAL a = F_abs(x), r = (a + TWO_TO_FRACTION) - TWO_TO_FRACTION;
    return F_copysign(F_select(F_mask(a < TWO_TO_FRACTION), r, a), x);
}""",
    "floor": """REAL F_floor(REAL x) {
    const REAL r = F_round(x);
    return F_copysign(r - F_select(F_mask(r > x), C(1.0), C(0.0)), x);
}""",
    "exp_in_range": """REAL F_exp_in_range(REAL x, REAL rest) {
    const REAL b = x * C(HALF_LOG2_E) + MAGIC, n = b - MAGIC, root = F_real(F_bits(b) << FRACTION);
    const REAL r = (n * (C(-2.0) * LN2_LOW) + (n * (C(-2.0) * LN2_HIGH) + x)) + rest;
    const REAL p = (r * r * POLY(r, EXP) + r) + C(1.0);
    return p * root * root;
}""",
    "exp": "REAL F_exp(REAL x) { return F_exp_in_range(F_clamp(x, EXP_LEAST, EXP_MOST), C(-0.0)); }",
    "exp_of_minus_abs": """REAL F_exp_of_minus_abs(REAL v) {
    const REAL x = -F_abs(v);
    return F_exp_in_range(F_select(F_mask(EXP_LEAST > x), EXP_LEAST, x), C(-0.0));
}""",
    "expm1": """REAL F_expm1(REAL v) {
    const REAL x = F_clamp(v, EXPM1_LEAST, EXP_MOST);
    const REAL b = x * C(LOG2_E) + (MAGIC - C(1.0)), n = b - (MAGIC - C(1.0)), half = F_real(F_bits(b) << FRACTION);
    const REAL r = n * -LN2_LOW + (n * -LN2_HIGH + x), p = r * r * POLY(r, EXPM1) + r;
    const REAL y = half * p + (half - C(0.5));
    return F_copysign(y + y, v);
}""",
    "tanh": """REAL F_tanh(REAL v) {
    const REAL y = C(-2.0) * F_abs(v), x = F_select(F_mask(EXPM1_LEAST > y), EXPM1_LEAST, y);
    const REAL b = x * C(LOG2_E) + MAGIC, n = b - MAGIC, power = F_real(F_bits(b) << FRACTION);
    const REAL r = n * -LN2_LOW + (n * -LN2_HIGH + x), p = r * r * POLY(r, EXPM1) + r;
    const REAL e = power * p + (power - C(1.0));
    return F_copysign(e / (e + C(2.0)), v);
}""",
    "sigmoid": """REAL F_sigmoid(REAL v) {
    const REAL e = F_exp_of_minus_abs(v);
    return F_select(F_mask(v < C(0.0)), e, C(1.0)) / (C(1.0) + e);
}""",
    "split": """REAL F_split(REAL v, REAL *exponent) {
    const BITS b = F_bits(v) + (ONE - ROOT);
    *exponent = F_real((b >> FRACTION) | F_bits(TWO_TO_FRACTION)) - (TWO_TO_FRACTION + BIAS);
    return F_real((b & (((BITS)1 << FRACTION) - 1)) + ROOT);
}""",
    "split_all": """REAL F_split_all(REAL v, REAL *exponent) {
    const BITS tiny = F_mask(v < SMALLEST);
    const REAL m = F_split(F_select(tiny, v * SCALE, v), exponent);
    *exponent = *exponent - F_select(tiny, SCALE_EXPONENT, C(0.0));
    return m;
}""",
    "log_of_split": """REAL F_log_of_split(REAL m, REAL e, REAL lost) {
    const REAL f = m - C(1.0), s = f / (f + C(2.0)), z = s * s, half_square = C(0.5) * f * f;
    const REAL tail = s * (z * POLY(z, LOG) + half_square) + (e * LN2_LOW + lost);
    return e * LN2_HIGH + (f - (half_square - tail));
}""",
    "log": """REAL F_log(REAL v) {
    REAL e;
    const REAL m = F_split_all(v, &e), y = F_log_of_split(m, e, C(0.0));
    const REAL low = F_select(F_mask(v == C(0.0)), -INF, NOT_A_NUMBER);
    return F_select(F_mask(v > C(0.0)), F_select(F_mask(v < INF), y, v), low);
}""",
    "log1p": """REAL F_log1p(REAL v) {
    REAL e, y;
    const REAL u = C(1.0) + v, m = F_split(u, &e);
    y = F_log_of_split(m, e, (v - (u - C(1.0))) / u);
    y = F_select(F_mask(v < INF), y, v);
    y = F_select(F_mask(v > C(-1.0)), y, F_select(F_mask(v == C(-1.0)), -INF, NOT_A_NUMBER));
    return F_select(F_mask(v == C(0.0)), v, y);
}""",
    "softplus": """REAL F_softplus(REAL v) {
    return F_select(F_mask(v < C(0.0)), C(0.0), v) + F_log1p(F_exp_of_minus_abs(v));
}""",
    # a first guess from the exponent, then Newton's method for 1 / sqrt; the last step corrects the root itself
    "sqrt": """REAL F_sqrt(REAL v) {
    const BITS tiny = F_mask(v < SMALLEST);
    const REAL x = F_select(tiny, v * SCALE, v), h = C(0.5) * x;
    REAL r = F_real(RSQRT_GUESS - (F_bits(x) >> 1)), s;
    r = r * (C(1.5) - h * r * r);
    r = r * (C(1.5) - h * r * r);
    r = r * (C(1.5) - h * r * r);
    r = r * (C(1.5) - h * r * r);
    s = x * r;
    s = s + C(0.5) * r * (x - s * s);
    s = s * F_select(tiny, SCALE_ROOT, C(1.0));
    return F_select(F_mask(v > C(0.0)) & F_mask(v < INF), s, F_select(F_mask(v < C(0.0)), NOT_A_NUMBER, v));
}""",
    "erf": """REAL F_erf(REAL v) {
    const REAL x = F_abs(v), u = x * x, far = F_clamp(x, C(0.0), ERF_MOST);
    const REAL near_zero = v * POLY(u, ERF_SMALL) + v;
    const REAL large = F_copysign(C(1.0) - F_exp(-POLY(far, ERF_LARGE)), v);
    return F_select(F_mask(far < C(1.0)), near_zero, large);
}""",
    "lost": """REAL F_lost(REAL a, REAL b, REAL product) {  /* the rounding error of the product, exactly */
    const REAL c = a * SPLIT, d = b * SPLIT, a1 = c - (c - a), b1 = d - (d - b), a2 = a - a1, b2 = b - b1;
    return ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2;
}""",
    "log_in_two": """REAL F_log_in_two(REAL v, REAL *left) {
    REAL e;
    const REAL m = F_split_all(v, &e), f = m - C(1.0), d = m + C(1.0), s = f / d, p = s * d;
    const REAL s_rest = ((f - p) - F_lost(s, d, p) - s * (m - (d - C(1.0)))) / d, z = s * s;
    const REAL z_rest = (s + s) * s_rest + F_lost(s, s, z), t = z * THIRD;
    const REAL t_rest = z_rest * THIRD + (z * THIRD_REST + F_lost(z, THIRD, t));
    const REAL q = z * z * POLY(z, ATANH), u = t + q, u_rest = ((t - u) + q) + t_rest;
    const REAL a = s + s, b = a * u, b_rest = F_lost(a, u, b) + (a * u_rest + (s_rest + s_rest) * (C(1.0) + u));
    const REAL c = a + b, c_rest = ((a - c) + b) + b_rest, high = e * LN2_HIGH, total = high + c;
    const REAL rest = ((high - total) + c) + (e * LN2_LOW + c_rest), y = total + rest;
    *left = (total - y) + rest;
    return y;
}""",
    "power": """REAL F_power(REAL v, REAL w) {
    const REAL base = F_abs(v), half = C(0.5) * w, whole_w = F_round(w);
    const BITS proper = F_mask(base > C(0.0)) & F_mask(base < INF), whole = F_mask(whole_w == w);
    REAL scale_rest, scale = F_log_in_two(F_select(proper, base, C(1.0)), &scale_rest), x, y, rest;
    BITS within;
    scale = F_select(proper, scale, F_select(F_mask(base == C(0.0)), -INF, base));
    x = F_select(F_mask(scale == C(0.0)), C(0.0), w * scale);
    within = F_mask(x > EXP_LEAST) & F_mask(x < EXP_MOST) & F_mask(scale != C(0.0));
    rest = F_select(within, F_lost(w, scale, x) + w * scale_rest, C(0.0));
    y = F_exp_in_range(F_clamp(x, EXP_LEAST, EXP_MOST), rest);
    y = F_select(whole & F_mask(F_round(half) != half), F_copysign(y, v), y);
    y = F_select(F_mask(v < C(0.0)) & ~whole & F_mask(v > -INF), NOT_A_NUMBER, y);
    return F_select(F_mask(w == C(0.0)) | F_mask(v == C(1.0)), C(1.0), y);
}""",
    "quadrant": """REAL F_quadrant(REAL v, REAL *sine, REAL *cosine) {
    const REAL n = (v * C(TWO_OVER_PI) + ROUNDING) - ROUNDING;
    const REAL r = n * -HALF_PI_3 + (n * -HALF_PI_2 + (n * -HALF_PI_1 + (n * -HALF_PI_0 + v)));
    const REAL u = r * r, s = r * u * POLY(u, SIN) + r, c = u * u * POLY(u, COS) + (u * C(-0.5) + C(1.0));
    const REAL q = n - C(4.0) * ((n * C(0.25) + ROUNDING) - ROUNDING);
    const BITS odd = F_mask(F_abs(q) == C(1.0));
    *sine = F_select(odd, c, s);
    *cosine = F_select(odd, s, c);
    return q;
}""",
    "sin": """REAL F_sin(REAL v) {
    REAL s, c;
    const REAL q = F_quadrant(v, &s, &c);
    if (F_abs(v) > HUGE_ANGLE) return (REAL)sin((double)v);  /* the C library's */
    s = F_select(F_mask(q < C(0.0)) | F_mask(q == C(2.0)), -s, s);
    return F_select(F_mask(v == C(0.0)), v, s);
}""",
    "cos": """REAL F_cos(REAL v) {
    REAL s, c;
    const REAL q = F_quadrant(v, &s, &c);
    if (F_abs(v) > HUGE_ANGLE) return (REAL)cos((double)v);  /* the C library's */
    return F_select(F_mask(q > C(0.0)) | F_mask(q == C(-2.0)), -c, c);
}""",
    "arctan_to_one": """REAL F_arctan_to_one(REAL t) {
    const BITS far = F_mask(t > C(0.41421356237309503));
    const REAL r = F_select(far, (t - C(1.0)) / (t + C(1.0)), t), u = r * r, y = r * u * POLY(u, ARCTAN) + r;
    return F_select(far, QUARTER_PI + (y + QUARTER_PI_REST), y);
}""",
    "arctan": """REAL F_arctan(REAL v) {
    const REAL x = F_abs(v);
    const BITS steep = F_mask(x > C(1.0));
    const REAL y = F_arctan_to_one(F_select(steep, C(1.0) / x, x));
    return F_copysign(F_select(steep, HALF_PI - (y - HALF_PI_REST), y), v);
}""",
    "arctan2": """REAL F_arctan2(REAL v, REAL w) {
    const REAL p = F_abs(v), q = F_abs(w);
    const BITS steep = F_mask(p > q);
    const REAL far = F_select(steep, p, q), near = F_select(steep, q, p);
    const REAL equal = F_select(F_mask(p == C(0.0)), p, C(1.0));
    const REAL y = F_arctan_to_one(F_select(F_mask(p == q), equal, near / far));
    const REAL z = F_select(steep, HALF_PI - (y - HALF_PI_REST), y);
    return F_copysign(F_select(F_mask(F_copysign(C(1.0), w) < C(0.0)), PI - (z - PI_REST), z), v);
}""",
}
POLYNOMIALS = {name[1:-3]: name[:-3] for name in vars(mathfn) if re.fullmatch(r"_[A-Z0-9_]+_32", name)}


class Dialect:
    """How numbers and functions are written in one file: the prefix of its names, and its dtype.

    Parameters
    ----------
    prefix : str
        Of all names in the file.
    dtype : float32 or float64
    """

    def __init__(self, prefix: str, dtype: np.dtype):
        self.prefix, self.dtype = prefix, dtype
        self.single = dtype == np.float32
        self.real = "float" if self.single else "double"
        self.bits = "uint32_t" if self.single else "uint64_t"
        self.used: set[str] = set()  # functions that the file needs

    def number(self, value: float) -> str:
        """A literal of the dtype."""
        value = float(self.dtype.type(value))
        if value != value or math.isinf(value):
            return "NAN" if value != value else "INFINITY" if value > 0 else "(-INFINITY)"
        text = str(self.dtype.type(value))
        text = text if re.search(r"[.e]", text) else text + ".0"
        text += "f" * self.single
        return f"({text})" if text.startswith("-") else text

    def call(self, function: str, *args: str) -> str:
        """A call of one of the functions of this file."""
        self.used.add(function)
        return f"{self.prefix}_{function}({', '.join(args)})"

    # ---- the texts of functions

    def functions(self) -> str:
        """The functions that were called, and those that they call, each after those that it needs."""
        needed, stack = set(), [*self.used]
        while stack:
            name = stack.pop()
            if name not in needed:
                needed.add(name)
                stack += re.findall(r"\bF_(\w+)\(", TEXTS[name].partition("{")[2])
        return "\n".join(self._definition(name) for name in TEXTS if name in needed)

    def _definition(self, name: str) -> str:
        own = self._filled("static inline " + TEXTS[name])
        if name not in LIBM:
            return own
        arguments = "v, w" if name in ("power", "arctan2") else "v"
        parameters = ", ".join(f"REAL {a}" for a in arguments.split(", "))
        theirs = {"power": "pow", "arctan": "atan", "arctan2": "atan2"}.get(name, name) + "f" * self.single
        body = f"static inline REAL F_{name}({parameters}) {{ return {theirs}({arguments}); }}"
        return f"#ifdef {self.prefix.upper()}_USE_LIBM\n{self._filled(body)}\n#else\n{own}\n#endif"

    def _filled(self, text: str) -> str:
        text = re.sub(r"POLY\((\w+), (\w+)\)", lambda m: self._polynomial(m[1], m[2]), text)
        constants = self._constants()
        text = re.sub(r"C\((-?[\w.]+)\)", lambda m: self.number(_value(m[1])), text)
        text = re.sub(r"\b[A-Z][A-Z0-9_]+\b", lambda m: constants.get(m[0], m[0]), text)
        return re.sub(r"\bF_", f"{self.prefix}_", text)

    def _polynomial(self, x: str, name: str) -> str:
        """Horner's scheme, highest power first."""
        first, *rest = self._picked(POLYNOMIALS[name])
        text = self.number(first)
        for c in rest:
            text = f"({text} * {x} + {self.number(c)})"
        return text

    def _picked(self, name: str):
        return getattr(mathfn, name + ("_32" if self.single else "_64"))

    def _constants(self) -> dict[str, str]:
        fraction, bias = (23, 127) if self.single else (52, 1023)
        hexadecimal = (lambda n: f"UINT32_C({n:#x})") if self.single else (lambda n: f"UINT64_C({n:#x})")
        pi, rest = self._picked("_PI"), self._picked("_PI_REST")
        numbers = {
            "LN2_HIGH": self._picked("_LN2_HIGH"),
            "LN2_LOW": self._picked("_LN2_LOW"),
            "MAGIC": 1.5 * 2.0**fraction + bias,
            "TWO_TO_FRACTION": 2.0**fraction,
            "WHOLE": 2.0 ** (fraction + 1),
            "BIAS": bias,
            "EXP_LEAST": -104.0 if self.single else -746.0,
            "EXP_MOST": 89.0 if self.single else 710.0,
            "EXPM1_LEAST": -20.0 if self.single else -40.0,
            "SMALLEST": float(np.finfo(self.dtype).tiny),
            "SCALE": 2.0**24 if self.single else 2.0**54,
            "SCALE_ROOT": 2.0**-12 if self.single else 2.0**-27,
            "SCALE_EXPONENT": 24 if self.single else 54,
            "ERF_MOST": 3.95 if self.single else 5.95,
            "SPLIT": 4097.0 if self.single else 134217729.0,
            "THIRD": self._picked("_THIRD"),
            "THIRD_REST": self._picked("_THIRD_REST"),
            "PI": pi,
            "PI_REST": rest,
            "HALF_PI": 0.5 * pi,
            "HALF_PI_REST": 0.5 * rest,
            "QUARTER_PI": 0.25 * pi,
            "QUARTER_PI_REST": 0.25 * rest,
            "ROUNDING": self._picked("_ROUND"),
            "HUGE_ANGLE": self._picked("_HUGE"),
            **{f"HALF_PI_{i}": v for i, v in enumerate(self._picked("_HALF_PI"))},
        }
        integers = {
            "SIGN": 1 << (fraction + (8 if self.single else 11)),
            "ONE": bias << fraction,
            "ROOT": 0x3F3504F3 if self.single else 0x3FE6A09E667F3BCD,
            "RSQRT_GUESS": 0x5F375A86 if self.single else 0x5FE6EB50C7B537A9,
        }
        return {
            "REAL": self.real,
            "BITS": self.bits,
            "FRACTION": str(fraction),
            "INF": "INFINITY" if self.single else "(double)INFINITY",
            "NOT_A_NUMBER": "NAN" if self.single else "(double)NAN",
            **{name: self.number(v) for name, v in numbers.items()},
            **{name: hexadecimal(v) for name, v in integers.items()},
        }


def _value(text: str) -> float:
    named = {"LOG2_E": LOG2_E, "HALF_LOG2_E": 0.5 * LOG2_E, "TWO_OVER_PI": 2.0 / math.pi}
    return named[text] if text in named else float(text)
