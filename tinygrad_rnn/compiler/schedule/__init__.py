"""Scheduling: what is saved, in which loop and order values are computed, and in which buffers.

Files, in reading order: `plan` (a program, its reverse, and what is saved between them), `schedule`, `levels` (when
values are computed), `gemm_fusion` (sums of products as one call), `buffers`, `extents` (values that are equally wide),
`printer`, `verify`.
"""
