"""Threads that share steps of loops: what they write to at the same time, and which part is whose.

Files, in reading order: `atomics` (integers that several threads write to), `job_codes` (the tables that they share),
`member` (a thread's part of a step, and the barrier between parts).
"""

from ..build.uninterrupted import modules_of

__getattr__ = modules_of(__name__)
