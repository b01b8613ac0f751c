"""Notebooks of the pages: ``python docs/notebooks.py`` writes docs/notebooks/NAME.ipynb, which run as the pages do."""

import json
import re
from pathlib import Path

HERE = Path(__file__).parent
PAGES = (
    "start",
    "cell",
    "from-numpy",
    "noise",
    "saving",
    "tutorials/amplifier",
    "forecasting",
    "policy",
    "tape",
    "loop",
    "gradients",
    "vanishing",
)
CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
LOCAL = re.compile(r"\]\((?!http|#)([^)\s]+)\)")


def notebook(page: str) -> str:
    """A page as a notebook in JSON: text and code in turn, links and pictures seen from docs/notebooks."""
    cells = []
    parts = CODE.split(page)  # text, code, text, ...
    for i, part in enumerate(parts):
        text = part.rstrip() if i % 2 else LOCAL.sub(r"](../\1)", part).strip()
        if text:
            cells.append(_cell("code" if i % 2 else "markdown", text, len(cells)))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _cell(kind: str, text: str, number: int) -> dict:
    cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | {"execution_count": None, "outputs": []} if kind == "code" else cell


if __name__ == "__main__":
    for name in PAGES:
        text = notebook((HERE / f"{name}.md").read_text(encoding="utf-8"))
        (HERE / "notebooks").mkdir(exist_ok=True)
        (HERE / "notebooks" / f"{Path(name).name}.ipynb").write_text(text, encoding="utf-8")
