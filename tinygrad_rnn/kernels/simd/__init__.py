"""Vectors that read like numbers: a SIMD type for Numba, as wide as the machine's registers.

Files, in reading order: `types`, `operators`, `lanes`; `mathfn` (exp, tanh, sigmoid and the like, within 4 units in
the last place).
"""
