"""The twins: what kernels compute, written in plain NumPy as one would write it down.

Each has the name of its kernel's file. Functions on lanes have NumPy's own as their twins, as far as it has them;
what only tells where arrays are, such as `loops.entry`, computes nothing and has none.
"""
