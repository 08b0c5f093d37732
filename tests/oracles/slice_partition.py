"""Linear regions in the plane, counted and cut slowly: one polygon, one line at a time.

The network is a list of weights and biases with ReLU between them. Each polygon carries the affine map of the layers so
far; a unit's line is pulled back through it and both sides are clipped.
"""

Point = tuple[float, float]


def arrangement_regions(lines: list[tuple[float, float, float]], low: Point, high: Point) -> int:
    """Return into how many regions lines ``a·x + b·y + c = 0`` in general position cut a rectangle: Euler's formula."""
    corners = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
    crossing = 0
    for a, b, c in lines:
        sides = [a * x + b * y + c > 0 for x, y in corners]
        crossing += any(sides) and not all(sides)
    meeting = 0
    for i, (a, b, c) in enumerate(lines):
        for d, e, f in lines[:i]:
            determinant = a * e - b * d
            x, y = (b * f - c * e) / determinant, (c * d - a * f) / determinant
            meeting += low[0] < x < high[0] and low[1] < y < high[1]
    return 1 + crossing + meeting


def cut_polygons(
    weights: list[list[list[float]]], biases: list[list[float]], corners: list[Point]
) -> list[tuple[list[Point], list[list[float]], list[float]]]:
    """Return the regions of a ReLU network of two inputs: polygon, matrix and offset of the output."""
    regions = [(corners, [[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])]
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        following = []
        for polygon, matrix, offset in regions:
            new_matrix = [[sum(row[k] * matrix[k][axis] for k in range(len(row))) for axis in (0, 1)] for row in weight]
            new_offset = [
                sum(row[k] * offset[k] for k in range(len(row))) + add for row, add in zip(weight, bias, strict=True)
            ]
            if number == len(weights) - 1:
                following.append((polygon, new_matrix, new_offset))
                continue
            parts = [(polygon, [])]
            for slope, constant in zip(new_matrix, new_offset, strict=True):
                cut = []
                for part, signs in parts:
                    for side in (1, -1):
                        clipped = _clip(part, side * slope[0], side * slope[1], side * constant)
                        if len(clipped) > 2:
                            cut.append((clipped, [*signs, side > 0]))
                parts = cut
            for part, signs in parts:
                kept_matrix = [row if on else [0.0, 0.0] for row, on in zip(new_matrix, signs, strict=True)]
                kept_offset = [value if on else 0.0 for value, on in zip(new_offset, signs, strict=True)]
                following.append((part, kept_matrix, kept_offset))
        regions = following
    return regions


def polygon_area(polygon: list[Point]) -> float:
    """Return the area of a polygon."""
    total = 0.0
    for (x, y), (u, v) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        total += x * v - u * y
    return total / 2


def _clip(polygon: list[Point], a: float, b: float, c: float) -> list[Point]:
    """Return the part of a convex polygon where ``a·x + b·y + c > 0``; empty if there is none."""
    values = [a * x + b * y + c for x, y in polygon]
    if max(values) <= 0:
        return []
    kept: list[Point] = []
    for i, (x, y) in enumerate(polygon):
        u, v = polygon[(i + 1) % len(polygon)]
        here, there = values[i], values[(i + 1) % len(polygon)]
        if here >= 0:
            kept.append((x, y))
        if here * there < 0:
            t = here / (here - there)
            kept.append((x + t * (u - x), y + t * (v - y)))
    return kept
