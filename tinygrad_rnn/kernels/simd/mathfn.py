"""Elementary functions on lanes: exp, log, power, tanh, sigmoid, erf, sin, arctan and their kin.

Called in jitted code on a vector, ``tanh(v)``; the vector decides between float32 and float64. Each is
within 4 units in the last place of the exact value over the whole range (most are within 2) and treats
NaN, infinities, subnormal numbers and signed zeros as NumPy does. There are no branches, except for sin
and cos of huge numbers.

The coefficients are minimax fits (Remez exchange in 60 digits, weighted for the relative error of the
result); the comments give the form and the error of the fit in units in the last place of the result.
The file is long because there are a dozen functions, which share what exp and log are made of.
"""

import math

from numba.extending import overload

from .lanes import (
    vabs,
    vany,
    vclamp,
    vcopysign,
    vfma,
    vget,
    vlanes,
    vpick,
    vpoly,
    vpow2,
    vput,
    vround,
    vselect,
    vsplit,
    vsqrt,
)
from .types import HAS_FMA, Vec

sqrt = vsqrt


def _lanes_only(v):
    raise NotImplementedError("mathfn functions exist in jitted code only")


def _vector_function(implementation):
    """Make `implementation` a function of a vector for jitted code, without compiling it yet."""

    def stub(v):
        return _lanes_only(v)

    stub.__name__ = stub.__qualname__ = implementation.__name__
    stub.__doc__ = implementation.__doc__
    stub.__module__ = __name__
    overload(stub)(lambda v: implementation if isinstance(v, Vec) else None)
    return stub


# exp(r) = 1 + r + r^2 P(r). For exp |r| <= ln(2): 0.24 and 0.09 ulp
_EXP_32 = (
    0.00019611701909844428, 0.0014104472967696382, 0.008336102400217637, 0.04166126827484363,
    0.16666614162467933, 0.5000003463827355,
)  # fmt: skip
_EXP_64 = (
    1.5935482239013855e-10, 2.1062449937288074e-09, 2.5055037208429722e-08, 2.75561565814295e-07,
    2.7557300616760164e-06, 2.480159083646683e-05, 0.00019841269892902313, 0.0013888888883564383,
    0.008333333333269728, 0.041666666666702185, 0.16666666666666938, 0.4999999999999993,
)  # fmt: skip
# For expm1 |r| <= ln(2) / 2: 0.23 and 0.003 ulp
_EXPM1_32 = (
    0.0013882480972642086, 0.008366581298659324, 0.041667202200045144, 0.1666654317037752, 0.4999999814346389,
)  # fmt: skip
_EXPM1_64 = (
    2.0875327164187671e-9, 2.510908168086853e-8, 2.7557402939307684e-7, 2.755724410339647e-6,
    2.4801587171856117e-5, 1.984126988820867e-4, 1.3888888888962882e-3, 8.333333333321607e-3,
    4.166666666666651e-2, 0.16666666666666677, 0.5,
)  # fmt: skip
_LOG2_E, _LN2 = 1.4426950408889634, 0.6931471805599453
# ln(2) in two pieces; the products of the first with the integers that occur are exact
_LN2_HIGH_32, _LN2_LOW_32 = 0.693359375, -2.1219444005469057e-4
_LN2_HIGH_64, _LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10


def _exp_in_range(v, rest):
    """exp of ``v + rest`` for a v that neither overflows nor falls far below the subnormal numbers."""
    return _lanes_only(v)


@overload(_exp_in_range)
def _exp_of_sum(v, rest):
    def implementation(v, rest):
        n, root = vpow2(v, 0.5 * _LOG2_E, 0)
        r = vfma(n, vpick(v, -2.0 * _LN2_HIGH_32, -2.0 * _LN2_HIGH_64), v)
        r = vfma(n, vpick(v, -2.0 * _LN2_LOW_32, -2.0 * _LN2_LOW_64), r) + rest
        p = vfma(r * r, vpoly(r, _EXP_32, _EXP_64), r) + 1.0
        return p * root * root  # in two steps, which neither overflow nor lose bits too early

    return implementation if isinstance(v, Vec) else None


_NOTHING = -0.0  # adding it changes no number, and costs nothing


@_vector_function
def exp(v):
    """e to the power of v."""
    return _exp_in_range(vclamp(v, vpick(v, -104.0, -746.0), vpick(v, 89.0, 710.0)), _NOTHING)


@_vector_function
def _exp_of_minus_abs(v):
    """``exp(-abs(v))``."""
    x, low = -vabs(v), vpick(v, -104.0, -746.0)
    return _exp_in_range(vselect(low > x, low, x), _NOTHING)


@_vector_function
def expm1(v):
    """``exp(v) - 1`` without cancellation near 0."""
    x = vclamp(v, vpick(v, -20.0, -40.0), vpick(v, 89.0, 710.0))
    n, half = vpow2(x, _LOG2_E, -1)  # half of 2**n, which may overflow
    r = vfma(n, vpick(v, -_LN2_HIGH_32, -_LN2_HIGH_64), x)
    r = vfma(n, vpick(v, -_LN2_LOW_32, -_LN2_LOW_64), r)
    p = vfma(r * r, vpoly(r, _EXPM1_32, _EXPM1_64), r)
    y = vfma(half, p, half - 0.5)
    return vcopysign(y + y, v)


@_vector_function
def tanh(v):
    """Hyperbolic tangent."""
    x, low = -2.0 * vabs(v), vpick(v, -20.0, -40.0)
    x = vselect(low > x, low, x)
    n, power = vpow2(x, _LOG2_E, 0)
    r = vfma(n, -_LN2, x)  # one piece of ln(2) is enough: where n is large, exp(x) is small
    p = vfma(r * r, vpoly(r, _EXPM1_32, _EXPM1_64), r)
    e = vfma(power, p, power - 1.0)
    return vcopysign(e / (e + 2.0), v)


@_vector_function
def sigmoid(v):
    """``1 / (1 + exp(-v))``, accurate for negative numbers too."""
    e = _exp_of_minus_abs(v)
    return vselect(v < 0.0, e, 1.0) / (1.0 + e)


# log(1 + f) = f - f^2/2 + s (f^2/2 + z R(z)), s = f / (2 + f), z = s^2, f in [sqrt(1/2) - 1, sqrt(2) - 1];
# 0.014 and 0.011 ulp
_LOG_32 = (0.298730596799226, 0.3997749618331722, 0.6666677671118961)
_LOG_64 = (
    0.14797508217555187, 0.15313903309495015, 0.18183569732552246, 0.22222198476224613,
    0.285714287432593, 0.39999999999411116, 0.6666666666666735,
)  # fmt: skip


@_vector_function
def log(v):
    """Natural logarithm; NaN below zero."""
    tiny = v < vpick(v, 1.1754943508222875e-38, 2.2250738585072014e-308)
    m, e = vsplit(vselect(tiny, v * vpick(v, 2.0**24, 2.0**54), v))
    e = vselect(tiny, e - vpick(v, 24.0, 54.0), e)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = 0.5 * f * f
    tail = vfma(s, vfma(z, vpoly(z, _LOG_32, _LOG_64), half_square), e * vpick(v, _LN2_LOW_32, _LN2_LOW_64))
    y = vfma(e, vpick(v, _LN2_HIGH_32, _LN2_HIGH_64), f - (half_square - tail))
    y = vselect(v < math.inf, y, v)
    return vselect(v > 0.0, y, vselect(v == 0.0, -math.inf, math.nan))


@_vector_function
def log1p(v):
    """``log(1 + v)`` without cancellation near 0."""
    u = 1.0 + v
    m, e = vsplit(u)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = 0.5 * f * f
    lost = (v - (u - 1.0)) / u  # what rounding 1 + v has dropped
    low = vfma(e, vpick(v, _LN2_LOW_32, _LN2_LOW_64), lost)
    tail = vfma(s, vfma(z, vpoly(z, _LOG_32, _LOG_64), half_square), low)
    y = vfma(e, vpick(v, _LN2_HIGH_32, _LN2_HIGH_64), f - (half_square - tail))
    y = vselect(v < math.inf, y, v)
    y = vselect(v > -1.0, y, vselect(v == -1.0, -math.inf, math.nan))
    return vselect(v == 0.0, v, y)


@_vector_function
def softplus(v):
    """``log(1 + exp(v))`` without overflow."""
    return vselect(v < 0.0, 0.0, v) + log1p(_exp_of_minus_abs(v))


def power(v, w):
    """v to the power of w; for v below zero, w must be a whole number, or the result is NaN."""
    return _lanes_only(v)


# log(m) = 2 s (1 + z / 3 + z^2 Q(z)), s = (m - 1) / (m + 1), z = s^2 < 0.0295: the series of the inverse hyperbolic
# tangent, whose first two terms need the digits of two numbers
_ATANH_32 = (1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5)
_ATANH_64 = (1 / 27, 1 / 25, 1 / 23, 1 / 21, 1 / 19, 1 / 17, 1 / 15, 1 / 13, 1 / 11, 1 / 9, 1 / 7, 1 / 5)
_THIRD_32, _THIRD_REST_32 = 0.3333333432674408, -9.934107481068821e-09
_THIRD_64, _THIRD_REST_64 = 0.3333333333333333, 1.850371707708594e-17


def _lost(a, b, product):
    """The rounding error of ``product = a * b``, exactly."""
    return _lanes_only(a)


@overload(_lost)
def _lost_in_product(a, b, product):
    def fused(a, b, product):
        return vfma(a, b, -product)

    def split(a, b, product):  # Veltkamp and Dekker: halves, whose products are exact
        factor = vpick(a, 4097.0, 134217729.0)
        big = a * factor
        a_high = big - (big - a)
        a_low = a - a_high
        big = b * factor
        b_high = big - (big - b)
        b_low = b - b_high
        return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low

    return (fused if HAS_FMA else split) if isinstance(a, Vec) else None


@_vector_function
def _log_in_two(v):
    """The natural logarithm of a positive finite number as a sum of two: one digits, one what is left."""
    tiny = v < vpick(v, 1.1754943508222875e-38, 2.2250738585072014e-308)
    m, e = vsplit(vselect(tiny, v * vpick(v, 2.0**24, 2.0**54), v))
    e = vselect(tiny, e - vpick(v, 24.0, 54.0), e)
    f, d = m - 1.0, m + 1.0
    s = f / d
    p = s * d
    s_rest = ((f - p) - _lost(s, d, p) - s * (m - (d - 1.0))) / d
    z = s * s
    z_rest = vfma(s + s, s_rest, _lost(s, s, z))
    third = vpick(v, _THIRD_32, _THIRD_64)
    t = z * third
    t_rest = vfma(z_rest, third, vfma(z, vpick(v, _THIRD_REST_32, _THIRD_REST_64), _lost(z, third, t)))
    q = z * z * vpoly(z, _ATANH_32, _ATANH_64)
    u = t + q
    u_rest = ((t - u) + q) + t_rest
    a = s + s
    b = a * u
    b_rest = _lost(a, u, b) + (a * u_rest + (s_rest + s_rest) * (1.0 + u))
    c = a + b
    c_rest = ((a - c) + b) + b_rest
    high = e * vpick(v, _LN2_HIGH_32, _LN2_HIGH_64)  # exact
    total = high + c
    rest = ((high - total) + c) + vfma(e, vpick(v, _LN2_LOW_32, _LN2_LOW_64), c_rest)
    y = total + rest
    return y, (total - y) + rest


@overload(power)
def _power(v, w):
    if not (isinstance(v, Vec) and isinstance(w, Vec)):
        return None

    def implementation(v, w):
        base = vabs(v)
        proper = (base > 0.0) & (base < math.inf)
        scale, scale_rest = _log_in_two(vselect(proper, base, 1.0))
        scale = vselect(proper, scale, vselect(base == 0.0, -math.inf, base))
        x = vselect(scale == 0.0, 0.0, w * scale)  # a base of -1 or 1 stays that for infinite w
        low, high = vpick(v, -104.0, -746.0), vpick(v, 89.0, 710.0)
        within = (x > low) & (x < high) & (scale != 0.0)
        rest = vselect(within, _lost(w, scale, x) + w * scale_rest, 0.0)
        y = _exp_in_range(vclamp(x, low, high), rest)
        half = 0.5 * w
        whole = vround(w) == w
        y = vselect(whole & (vround(half) != half), vcopysign(y, v), y)
        y = vselect((v < 0.0) & (~whole) & (v > -math.inf), math.nan, y)
        return vselect((w == 0.0) | (v == 1.0), 1.0, y)

    return implementation


# erf(x) = x + x P(x^2) for |x| < 1: 0.02 and 0.07 ulp; otherwise 1 - exp(-Q(|x|)): 0.02 and 0.07 ulp
_ERF_SMALL_32 = (
    7.853844045899821e-05, -0.0008010189247274423, 0.005188327319515221, -0.0268538118463975,
    0.11283585150676004, -0.3761262582510113, 0.1283791657270888,
)  # fmt: skip
_ERF_SMALL_64 = (
    -7.77944891324782e-10, 1.3710969859773255e-08, -1.6206311317613116e-07, 1.644713125315939e-06,
    -1.492471227639966e-05, 0.00012055293575585293, -0.0008548325929271576, 0.00522397760611762,
    -0.026866170643111375, 0.11283791670944185, -0.3761263890318352, 0.12837916709551256,
)  # fmt: skip
_ERF_LARGE_32 = (
    -0.0001863767060384038, 0.0029476327294560706, -0.02183795754715682, 0.10310652485379888,
    0.6381451040021558, 1.1270890238944093, 0.0003415644260464403,
)  # fmt: skip
_ERF_LARGE_64 = (
    4.928619101978279e-12, -2.0449644657714508e-10, 3.934269351065379e-09, -4.6423072948298404e-08,
    3.7330489269510276e-07, -2.1356914454825525e-06, 8.667232730274895e-06, -2.282275370760664e-05,
    2.02673694883421e-05, 0.00013504881767310013, -0.0007706406008163462, 0.001915940013681578,
    -0.00041062473520109326, -0.01899018107179987, 0.10270344062977652, 0.6366436277093902,
    1.128374089554639, 5.028423184818453e-07,
)  # fmt: skip


@_vector_function
def erf(v):
    """Error function."""
    x = vabs(v)
    u = x * x
    small = vfma(v, vpoly(u, _ERF_SMALL_32, _ERF_SMALL_64), v)
    x = vclamp(x, 0.0, vpick(v, 3.95, 5.95))
    large = vcopysign(1.0 - exp(-vpoly(x, _ERF_LARGE_32, _ERF_LARGE_64)), v)
    return vselect(x < 1.0, small, large)


# sin(r) = r + r^3 S(r^2), cos(r) = 1 - r^2/2 + r^4 C(r^2), |r| <= pi/4: at most 0.07 ulp
_SIN_32 = (-0.0001951601164567684, 0.008332168922707757, -0.16666654802786015)
_SIN_64 = (
    1.589618112342673e-10, -2.5050747852087753e-08, 2.755731362868808e-06, -0.00019841269829632785,
    0.008333333333322205, -0.16666666666666632,
)  # fmt: skip
_COS_32 = (2.4431670300471676e-05, -0.001388730347674691, 0.04166664542550437)
_COS_64 = (
    -1.1358085104688263e-11, 2.0875692309903357e-09, -2.7557314117961124e-07, 2.4801587288644586e-05,
    -0.0013888888888872734, 0.04166666666666659,
)  # fmt: skip
# pi/2 in pieces of 13 (33) bits and a rest: products with integers below 2**11 (2**20) are exact
_HALF_PI_32 = (1.570556640625, 0.0002396702766418457, 1.5890691429376602e-08, 2.563344151594519e-12)
_HALF_PI_64 = (1.5707963267341256, 6.077100506303966e-11, 2.0222662487111665e-21, 8.4784276603689e-32)
_ROUND_32, _ROUND_64 = 12582912.0, 6755399441055744.0  # 1.5 * 2**23 and 2**52: adding one rounds to integers
_HUGE_32, _HUGE_64 = 3216.0, 1647099.0


@_vector_function
def _quadrant(v):
    """The quadrant of v (-2 .. 2), and sine and cosine of what is left of v, swapped in odd quadrants."""
    magic = vpick(v, _ROUND_32, _ROUND_64)
    n = vfma(v, 2.0 / math.pi, magic) - magic
    r = vfma(n, vpick(v, -_HALF_PI_32[0], -_HALF_PI_64[0]), v)
    r = vfma(n, vpick(v, -_HALF_PI_32[1], -_HALF_PI_64[1]), r)
    r = vfma(n, vpick(v, -_HALF_PI_32[2], -_HALF_PI_64[2]), r)
    r = vfma(n, vpick(v, -_HALF_PI_32[3], -_HALF_PI_64[3]), r)
    u = r * r
    sine = vfma(r * u, vpoly(u, _SIN_32, _SIN_64), r)
    cosine = vfma(u * u, vpoly(u, _COS_32, _COS_64), vfma(u, -0.5, 1.0))
    quadrant = n - 4.0 * (vfma(n, 0.25, magic) - magic)
    odd = vabs(quadrant) == 1.0
    return quadrant, vselect(odd, cosine, sine), vselect(odd, sine, cosine)


@_vector_function
def sin(v):
    """Sine."""
    quadrant, y, _ = _quadrant(v)
    y = vselect((quadrant < 0.0) | (quadrant == 2.0), -y, y)
    y = vselect(v == 0.0, v, y)  # keeps the sign of zero
    huge = vpick(v, _HUGE_32, _HUGE_64)
    if vany(vabs(v) > huge):
        for lane in range(vlanes(v)):
            x = vget(v, lane)
            if abs(x) > vget(huge, 0):
                y = vput(y, lane, math.sin(x))
    return y


@_vector_function
def cos(v):
    """Cosine."""
    quadrant, _, y = _quadrant(v)
    y = vselect((quadrant > 0.0) | (quadrant == -2.0), -y, y)
    huge = vpick(v, _HUGE_32, _HUGE_64)
    if vany(vabs(v) > huge):
        for lane in range(vlanes(v)):
            x = vget(v, lane)
            if abs(x) > vget(huge, 0):
                y = vput(y, lane, math.cos(x))
    return y


# arctan(r) = r + r^3 P(r^2), |r| <= tan(pi/8): 0.05 and 0.05 ulp
_ARCTAN_32 = (-0.06451718869358958, 0.10743668324830098, -0.14263949753605723, 0.1999954031495797, -0.33333331760434554)
_ARCTAN_64 = (
    -0.019175404711104935, 0.03923044778479309, -0.050854078345894844, 0.05858140904866328, -0.06664510525508936,
    0.07692183125376892, -0.0909090457530649, 0.11111111015187018, -0.14285714284665682, 0.19999999999995516,
    -0.3333333333333333,
)  # fmt: skip
# pi in two: the nearest number, and what is left
_PI_32, _PI_REST_32 = 3.1415927410125732, -8.742278000372485e-08
_PI_64, _PI_REST_64 = math.pi, 1.2246467991473532e-16
_TAN_OF_PI_8 = 0.41421356237309503


@_vector_function
def _arctan_to_one(v):
    """The angle of a slope from 0 to 1; beyond pi / 8 by that of another one, which is missing to pi / 4."""
    far = v > _TAN_OF_PI_8
    r = vselect(far, (v - 1.0) / (v + 1.0), v)
    u = r * r
    y = vfma(r * u, vpoly(u, _ARCTAN_32, _ARCTAN_64), r)
    quarter, rest = vpick(v, 0.25 * _PI_32, 0.25 * _PI_64), vpick(v, 0.25 * _PI_REST_32, 0.25 * _PI_REST_64)
    return vselect(far, quarter + (y + rest), y)


@_vector_function
def arctan(v):
    """Inverse of the tangent."""
    x = vabs(v)
    steep = x > 1.0
    y = _arctan_to_one(vselect(steep, 1.0 / x, x))
    half, rest = vpick(v, 0.5 * _PI_32, 0.5 * _PI_64), vpick(v, 0.5 * _PI_REST_32, 0.5 * _PI_REST_64)
    return vcopysign(vselect(steep, half - (y - rest), y), v)


def arctan2(v, w):
    """The angle of the point with ordinate v and abscissa w."""
    return _lanes_only(v)


@overload(arctan2)
def _arctan2(v, w):
    if not (isinstance(v, Vec) and isinstance(w, Vec)):
        return None

    def implementation(v, w):
        p, q = vabs(v), vabs(w)
        steep = p > q
        long, short = vselect(steep, p, q), vselect(steep, q, p)
        t = vselect(p == q, vselect(p == 0.0, p, 1.0), short / long)  # two zeros and two infinities, too
        y = _arctan_to_one(t)
        pi, rest = vpick(v, _PI_32, _PI_64), vpick(v, _PI_REST_32, _PI_REST_64)
        y = vselect(steep, 0.5 * pi - (y - 0.5 * rest), y)
        y = vselect(vcopysign(1.0, w) < 0.0, pi - (y - rest), y)
        return vcopysign(y, v)

    return implementation
