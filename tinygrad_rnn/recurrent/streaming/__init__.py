"""Streaming: one step per call for data that arrive one at a time, with exact gradients (RTRL).

Files, in reading order: `stepper` (the steps of a layer), `cell_stepper` (one cell of it, with its kernel),
`step_guards` (whether packed parameters are still the cell's), `rtrl` (real-time recurrent learning), `learner` (one
cell of it, on the tape or in a kernel), `learner_kernel` (parameters and gradients of the latter).
"""
