"""Kernels: machine code on flat arrays, made by Numba, tested against twins in plain NumPy.

In reading order: `build` (how a function becomes machine code), `simd` (vectors that read like numbers),
`threads` (that share the steps of a loop), `gemm` (matrix products), `loops` (what surrounds a generated loop), `fused`
(one jitted call each), `stages` (parts of programs of whole functions) and `reference` (the twins).

Nothing in here knows of tensors, or of any other room. Import modules from their folder, as in ``from ..kernels.fused
import ctc``: it loads Numba with the first one only, and so that Ctrl-C does not leave half of it behind.
"""
