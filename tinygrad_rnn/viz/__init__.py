"""Drawings of tapes and programs as Graphviz text, and gradient flow through time."""

from .dot import program_dot, to_dot
from .flow import Gate, GradientFlow, gradient_flow
from .plot import plot_gradient_flows

__all__ = ["Gate", "GradientFlow", "gradient_flow", "plot_gradient_flows", "program_dot", "to_dot"]
