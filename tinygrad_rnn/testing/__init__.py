"""Checks for your own operations and cells; only :mod:`~tinygrad_rnn.testing.strategies` needs hypothesis."""

from .gradcheck import gradcheck, gradgradcheck

__all__ = ["gradcheck", "gradgradcheck"]
