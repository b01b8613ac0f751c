"""The twins: what kernels compute, written in plain NumPy as one would write it down.

Each has the name of its kernel's file.
"""
