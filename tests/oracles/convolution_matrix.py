"""The matrix of a two-dimensional convolution as a map from images to images, entry by entry."""

from typing import Any


def convolution_matrix(
    weight: Any, size: tuple[int, int], *, stride: int, padding: int, dilation: int, groups: int
) -> list[list[float]]:
    """One row for each output (channel, row, column), one column for each input, in plain floats."""
    outputs, per_group, height, width = (int(length) for length in weight.shape)
    inputs = per_group * groups
    reach = [dilation * (length - 1) + 1 for length in (height, width)]
    out = [(n + 2 * padding - r) // stride + 1 for n, r in zip(size, reach, strict=True)]
    rows = []
    for o in range(outputs):
        group = o // (outputs // groups)
        for i in range(out[0]):
            for j in range(out[1]):
                row = [0.0] * (inputs * size[0] * size[1])
                for c in range(per_group):
                    for p in range(height):
                        for q in range(width):
                            y, x = i * stride - padding + p * dilation, j * stride - padding + q * dilation
                            if 0 <= y < size[0] and 0 <= x < size[1]:
                                channel = group * per_group + c
                                row[(channel * size[0] + y) * size[1] + x] += float(weight[o, c, p, q])
                rows.append(row)
    return rows
