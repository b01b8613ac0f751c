"""Checks for your own operations and cells: gradients, and all that layers rely on.

Files, in reading order: `gradcheck`; `check_cell`, `cell_checks` (one function for each promise), `cell_case` and
`cell_alone`; the table of cells, `cell_table`, with `module_cells`, `paper_cells` and `step_cells`; for Hypothesis,
which running `check_cell` needs too, `strategies` and `random_cells`, which `instruction_cell` interprets; random
cells of values of any rank, `ranked_cells`, and of integers, look-ups and inner loops, `integer_cells`.
"""

from .cell_checks import CHECKS
from .check_cell import CellReport, check_cell
from .gradcheck import gradcheck, gradgradcheck

CELL_CHECKS = tuple(CHECKS)

__all__ = ["CELL_CHECKS", "CellReport", "check_cell", "gradcheck", "gradgradcheck"]
