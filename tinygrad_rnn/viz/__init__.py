"""Drawings of tapes and programs as Graphviz text, and gradient flow through time.

Files, in reading order: `dot`; `flow` (norms, Jacobians and saturation, as arrays and in words), `recorder` (what it
records of a cell's steps), `plot` (pictures of it, for which alone matplotlib is imported).
"""

from .dot import program_dot, to_dot
from .flow import Gate, GradientFlow, gradient_flow
from .plot import plot_gradient_flows

__all__ = ["Gate", "GradientFlow", "gradient_flow", "plot_gradient_flows", "program_dot", "to_dot"]
