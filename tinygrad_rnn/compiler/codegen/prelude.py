"""Prelude: the head of every generated file."""

from __future__ import annotations

PRELUDE = '''"""{title}

Generated from a traced step; edit the step, not this file.

``dims`` holds sizes and offsets, ``consts`` numbers of the step, ``weights`` packed parameters, ``arena`` buffers,
``forward_arena`` those of the forward loop. All arrays are flat; row b of a buffer at step t starts at
``NAME_at + (first + b) * NAME_ld``, where ``first`` counts the rows of all steps before; its part i at ``NAME_at<i>``
instead. ``args`` says where the arrays are, ``member`` which part of each step this thread does; 0: all.
"""

import numpy as np

from tinygrad_rnn.kernels.simd.lanes import (
    integer, lane_mask, vabs, vbits, vbroadcast, veven, vfloor, vhmax, vhmin, vload, vload_n, vmax, vmin, vodd, vround,
    vselect, vsplat, vstore, vstore_n, vsum,
)
from tinygrad_rnn.kernels.gemm.extern import gemm2_part, gemm_part
from tinygrad_rnn.kernels.loops.entry import {dtype} as array, integers, loop, translated
from tinygrad_rnn.kernels.simd.mathfn import (
    arctan, arctan2, cos, erf, exp, expm1, log, log1p, power, sigmoid, sin, softplus, sqrt, tanh,
)
from tinygrad_rnn.kernels.threads.member import high_row, low_row, meet, own_row

LANES = {lanes}  # of {dtype}
INF = np.{dtype}(np.inf)


@translated
'''

IMPORT = "from tinygrad_rnn.kernels.simd.lanes import {}\n"  # of what few loops call
