"""Drawings of tapes and programs, as DOT text and as pictures; gradient flow through time.

Files, in reading order: `dot`, `drawing` (DOT text that notebooks show), `layout` (where nodes lie), `svg` (pictures of
graphs and curves, without any library); `flow` (norms, Jacobians and saturation, as arrays and in words), `recorder`
(what it records of a cell's steps), `gate_names`, `plot` (pictures of it, for which alone matplotlib is imported).
"""

from .dot import program_dot, to_dot
from .drawing import Drawing
from .flow import Gate, GradientFlow, gradient_flow
from .plot import plot_gradient_flows

__all__ = ["Drawing", "Gate", "GradientFlow", "gradient_flow", "plot_gradient_flows", "program_dot", "to_dot"]
