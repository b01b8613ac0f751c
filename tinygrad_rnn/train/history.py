"""The history of a training: a dict of lists that notebooks show as curves and a table."""

from __future__ import annotations

from html import escape

LAST = 5  # epochs in the table


class History(dict[str, list[float]]):
    """One number per finished epoch under each name, such as "loss" and "seconds".

    Examples
    --------
    >>> from tinygrad_rnn.train.history import History
    >>> History({"loss": [2.0, 1.0]})._repr_html_().count("<tr>")
    3
    """

    def _repr_html_(self) -> str:
        """Curves of the losses, and a table of the last epochs."""
        from ..viz.svg import curves_svg

        epochs = max(map(len, self.values()), default=0)
        if not epochs:
            return "<p>no epoch is finished yet</p>"
        losses = {name: column for name, column in self.items() if name.endswith("loss")}
        positive = all(value > 0 for column in losses.values() for value in column)
        lines = ["<th>epoch</th>" + "".join(f"<th>{escape(name)}</th>" for name in self)]
        for i in range(max(0, epochs - LAST), epochs):
            cells = (f"{column[i]:.4g}" if i < len(column) else "" for column in self.values())
            lines.append(f"<td>{i + 1}</td>" + "".join(f"<td>{cell}</td>" for cell in cells))
        table = "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"
        return curves_svg(losses, "Loss", "epoch", first=1, log=positive) + table
