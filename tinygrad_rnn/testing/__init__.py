"""Checks for your own operations and cells; `strategies` and running `check_cell` need hypothesis."""

from .cell_checks import CHECKS
from .check_cell import CellReport, check_cell
from .gradcheck import gradcheck, gradgradcheck

CELL_CHECKS = tuple(CHECKS)

__all__ = ["CELL_CHECKS", "CellReport", "check_cell", "gradcheck", "gradgradcheck"]
