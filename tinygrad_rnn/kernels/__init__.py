"""Jitted kernels. Nothing in here knows of tensors, and nothing outside of it of registers.

- `host`, `vector`, `operators`, `lanes`: a SIMD type for Numba, as wide as the machine's registers.
- `mathfn`: exp, tanh, sigmoid and the like on vectors, within 4 units in the last place.
- `tile`, `gemm`, `thin`: matrix products; packed ones, and those of a few rows.
- `matmul_tanh`: a step of a tanh RNN and its gradients.
- `ctc`: sums over the alignments of labels with time steps.
- `translate`, `loops`: how generated loops are compiled, and how they are called.
- `jobs`, `ragged`: what is done before and after them.
- `optimizers`: updates of flat buffers.
- `symbols`, `linked`: C functions that others call without being compiled together with them; the matrix tile as one.
- `fingerprint`: what the cache files of compiled code are named by.
- `reference`: a plain NumPy twin of every kernel.

Import the modules, not this package: it imports nothing, so that Numba is loaded by the first kernel only.
"""
