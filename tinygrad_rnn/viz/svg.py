"""SVG text of graphs and of curves, without any library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from .layout import latest, layered

INK, PALE, LINE = "#222222", "#dfe9f5", "#7a869a"
COLORS = ("#2166ac", "#e08214", "#1b7837", "#b2182b", "#762a83", "#9a9a9a")
LETTER, HEIGHT, EDGE = 6.7, 26.0, 14.0  # of monospaced text of 11 pixels; of a node; around the picture
MOST_NODES, MOST_LETTERS = 200, 44
TITLE = 24.0


# ---- graphs


def graph_svg(groups: Sequence[Any]) -> str:
    """Groups of nodes and arrows: the first ones, and in each the first operations, at the bottom."""
    lines, y, widest, left = [], EDGE, 0.0, MOST_NODES
    kept = []
    for group in groups:
        forward = [(edge.start, edge.end) for edge in group.edges if not edge.back]
        names = latest([node.name for node in group.nodes], forward, max(left, 0))
        left -= len(names)
        if names:
            kept.append(_group(group, names))
    for body, width, height in kept[::-1]:
        lines.append(f'<g transform="translate({EDGE:.1f} {y:.1f})">{body}</g>')
        y += height + EDGE
        widest = max(widest, width)
    more = sum(len(group.nodes) for group in groups) - MOST_NODES
    if more > 0:
        y += EDGE
        lines.append(_text(EDGE, y - 6, f"and {more:,} more", "start"))
    return _page(max(widest, 120.0) + 2 * EDGE, y, lines)


def _group(group: Any, shown: set[str]) -> tuple[str, float, float]:
    """A group as SVG, its width and height; with a frame if it has a title."""
    nodes = [node for node in group.nodes if node.name in shown]
    edges = [edge for edge in group.edges if edge.start in shown and edge.end in shown]
    labels = {node.name: _shortened(node.label) for node in nodes}
    widths = {name: max(34.0, len(text) * LETTER + 16) for name, text in labels.items()}
    forward = [(edge.start, edge.end) for edge in edges if not edge.back]
    layout = layered(widths, forward, HEIGHT)
    back = [edge for edge in edges if edge.back]
    margin, head = (EDGE, TITLE + EDGE) if group.title else (0.0, 0.0)
    title = _shortened(group.title, 120)
    width = max(layout.width + 22.0 * len(back), len(title) * LETTER) + 2 * margin
    height = layout.height + head + margin
    centres = {n: (margin + cx, head + layout.height - cy) for n, (cx, cy) in layout.centres.items()}
    lines = []
    if group.title:
        frame = f'width="{width:.1f}" height="{height:.1f}" rx="6" fill="none" stroke="{LINE}" stroke-width="0.8"'
        lines += [f"<rect {frame}/>", _text(margin, 20, title, "start")]
    for way in layout.ways:
        points = [(margin + wx, head + layout.height - wy) for wx, wy in way]
        (ax, ay), (bx, by) = points[0], points[-1]
        lines.append(_way([(ax, ay - HEIGHT / 2), *points[1:-1], (bx, by + HEIGHT / 2)]))
    for i, edge in enumerate(back):
        lines.append(_way_back(centres, widths, edge, margin + layout.width + 22.0 * i + 14))
    for node in nodes:
        lines.append(_node(node, labels[node.name], *centres[node.name], widths[node.name]))
    return "".join(lines), width, height


def _node(node: Any, text: str, x: float, y: float, width: float) -> str:
    fill = PALE if node.filled else "#ffffff"
    style = f'fill="{fill}" stroke="{INK}" stroke-width="0.9"'
    if node.ellipse:
        shape = f'<ellipse cx="{x:.1f}" cy="{y:.1f}" rx="{width / 2:.1f}" ry="{HEIGHT / 2:.1f}" {style}/>'
    else:
        corner = f'x="{x - width / 2:.1f}" y="{y - HEIGHT / 2:.1f}" width="{width:.1f}" height="{HEIGHT}"'
        shape = f'<rect {corner} rx="6" {style}/>'
    return f"<g><title>{_escaped(node.label)}</title>{shape}{_text(x, y + 4, text)}</g>"


def _way(points: list[tuple[float, float]]) -> str:
    """An arrow upwards through points, upright at each of them."""
    x, y = points[0]
    path = f"M{x:.1f} {y:.1f}"
    for nx, ny in points[1:]:
        middle = (y + ny) / 2
        path += f"C{x:.1f} {middle:.1f} {nx:.1f} {middle:.1f} {nx:.1f} {ny:.1f}"
        x, y = nx, ny
    return f'<path d="{path}" fill="none" stroke="{LINE}"/><path d="M{x:.1f} {y:.1f}l-3.2 7h6.4z" fill="{LINE}"/>'


def _way_back(centres: Mapping[str, tuple[float, float]], widths: Mapping[str, float], edge: Any, x: float) -> str:
    """A dashed arrow from a node around the right of all others to one below."""
    (ax, ay), (bx, by) = centres[edge.start], centres[edge.end]
    ax, bx = ax + widths[edge.start] / 2, bx + widths[edge.end] / 2
    path = f"M{ax:.1f} {ay:.1f}C{x:.1f} {ay:.1f} {x:.1f} {ay:.1f} {x:.1f} {(ay + by) / 2:.1f}"
    path += f"C{x:.1f} {by:.1f} {x:.1f} {by:.1f} {bx + 6:.1f} {by:.1f}"
    head = f'<path d="M{bx:.1f} {by:.1f}l7 -3.2v6.4z" fill="{LINE}"/>'
    return f'<path d="{path}" fill="none" stroke="{LINE}" stroke-dasharray="4 3"/>{head}'


# ---- curves


def curves_svg(curves: Mapping[str, Sequence[float]], title: str, below: str, first: int = 0, log: bool = False) -> str:
    """Curves with a legend; what is not finite, or not above 0 if `log`, is left out.

    Parameters
    ----------
    curves : mapping
        Names to numbers.
    title, below : str
        What stands above, and under the axis.
    first : int
        Where the axis begins.
    log : bool
        Whether the axis of the numbers is logarithmic.
    """
    width, height, left, top, right, bottom = 520.0, 210.0, 64.0, 28.0, 150.0, 36.0
    points = {name: [(i, _scaled(v, log)) for i, v in enumerate(values)] for name, values in curves.items()}
    points = {name: [(i, v) for i, v in row if math.isfinite(v)] for name, row in points.items()}
    every = [p for row in points.values() for p in row]
    low, high = min((v for _, v in every), default=0.0), max((v for _, v in every), default=1.0)
    margin = 0.05 * (high - low) or 0.5 * (abs(high) or 1.0)
    low, high = low - margin, high + margin
    last = max((len(v) - 1 for v in curves.values()), default=0)

    def place(i: float, v: float) -> tuple[float, float]:
        across = (i / last) if last > 0 else 0.5
        return left + across * (width - left - right), top + (high - v) / (high - low) * (height - top - bottom)

    lines = [_text(left, 16, title, "start")]
    for v in (low + margin, (low + high) / 2, high - margin):
        _, y = place(0, v)
        lines.append(f'<path d="M{left} {y:.1f}H{width - right}" stroke="#e6e6e6"/>')
        lines.append(_text(left - 6, y + 4, f"{10**v if log else v:.3g}", "end"))
    for i in sorted({0, last}):
        lines.append(_text(place(i, low)[0], height - bottom + 16, str(first + i)))
    lines.append(_text((left + width - right) / 2, height - 6, below))
    for k, (name, row) in enumerate(points.items()):
        color = COLORS[k % len(COLORS)]
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in (place(*p) for p in row)) if row else ""
        if len(row) == 1:
            path += "h0"
        lines.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="1.8" stroke-linecap="round"/>')
        y = top + 12 + 18 * k
        lines.append(f'<path d="M{width - right + 10} {y - 4}h16" stroke="{color}" stroke-width="2"/>')
        lines.append(_text(width - right + 32, y, _shortened(name, 18), "start"))
    return _page(width, max(height, top + 18 * len(points)), lines)


def _scaled(value: float, log: bool) -> float:
    if not log:
        return float(value)
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


# ---- both


def _page(width: float, height: float, lines: Sequence[str]) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.1f} {height:.1f}"'
    font = 'font-family="monospace" font-size="11" style="max-width: 100%; height: auto"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    return f'{head}<rect width="100%" height="100%" fill="#ffffff"/>{"".join(lines)}</svg>'


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """Text as XML has it, which knows no control characters."""
    return escape("".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text))


def _shortened(text: str, most: int = MOST_LETTERS) -> str:
    """The text in one line of at most so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
