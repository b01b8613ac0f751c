"""Vectors that read like numbers: a SIMD type for Numba, its operators, and functions on it."""
