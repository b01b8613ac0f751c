"""A line search for the strong Wolfe conditions, by cubic interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Point(NamedTuple):
    """A step along the line: its length, the value there, the gradient, and the slope along the line."""

    step: float
    value: float
    gradient: np.ndarray
    slope: float


def cubic_minimum(a: Point, b: Point, bounds: tuple[float, float] | None = None) -> float:
    """The minimum of the cubic through two points with their slopes, or the middle if there is none."""
    low, high = bounds or (min(a.step, b.step), max(a.step, b.step))
    d = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step)
    square = d * d - a.slope * b.slope
    if not square >= 0:
        return (low + high) / 2
    first, last = (a, b) if a.step <= b.step else (b, a)
    root = math.sqrt(square)
    wide = last.slope - first.slope + 2 * root
    if not wide:
        return (low + high) / 2
    least = last.step - (last.step - first.step) * ((last.slope + root - d) / wide)
    return min(max(least, low), high)


def strong_wolfe(
    evaluate: Callable[[float], Point],
    start: Point,
    step: float,
    longest: float,
    most: int,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    narrowest: float = 1e-9,
) -> tuple[Point, int]:
    """A point with enough decrease and a slope that is small enough, and how many were evaluated.

    Nocedal and Wright, "Numerical optimization", 2006, algorithms 3.5 and 3.6.

    Parameters
    ----------
    evaluate : callable
        The point after a step along the line.
    start : Point
        That of step 0.
    step : float
        The first one to try.
    longest : float
        The largest element of the direction.
    most : int
        So many evaluations after the first one.
    decrease, curvature : float
        The constants of the two conditions.
    narrowest : float
        A bracket whose ends are no farther apart is narrow enough.
    """
    previous, point = start, evaluate(step)
    count, tries = 1, 0
    bracket = [start, point]  # a bracket around a point that fits, or that point alone
    while tries < most:
        if point.value > start.value + decrease * point.step * start.slope or (
            tries > 1 and point.value >= previous.value
        ):
            bracket = [previous, point]
            break
        if abs(point.slope) <= -curvature * start.slope:
            return point, count
        if point.slope >= 0:
            bracket = [previous, point]
            break
        bounds = (point.step + 0.01 * (point.step - previous.step), point.step * 10)
        previous, point = point, evaluate(cubic_minimum(previous, point, bounds))
        count += 1
        tries += 1
        bracket = [start, point]
    low, high = (0, 1) if bracket[0].value <= bracket[1].value else (1, 0)
    stuck = False
    while tries < most and abs(bracket[1].step - bracket[0].step) * longest >= narrowest:
        t = cubic_minimum(bracket[0], bracket[1])
        left, right = sorted(p.step for p in bracket)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near to an end, twice
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        point = evaluate(t)
        count += 1
        tries += 1
        if point.value > start.value + decrease * t * start.slope or point.value >= bracket[low].value:
            bracket[high] = point
            low, high = (0, 1) if bracket[0].value <= bracket[1].value else (1, 0)
            continue
        done = abs(point.slope) <= -curvature * start.slope
        if not done and point.slope * (bracket[high].step - bracket[low].step) >= 0:
            bracket[high] = bracket[low]
        bracket[low] = point
        if done:
            break
    return bracket[low], count
