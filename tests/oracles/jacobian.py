"""Jacobian norms entry by entry: central differences, and singular values by power iteration in plain floats."""

import math

import torch


def difference_jacobian(function, x, step=1e-6):
    """Rows of outputs, columns of inputs, of a function of one sample, from two values for each input."""
    columns = []
    flat = [float(value) for value in x.flatten()]
    for place in range(len(flat)):
        ends = []
        for sign in (1, -1):
            moved = list(flat)
            moved[place] += sign * step
            row = torch.tensor(moved, dtype=x.dtype).reshape(1, *x.shape)
            ends.append(function(row).flatten().tolist())
        columns.append([(high - low) / (2 * step) for high, low in zip(*ends, strict=True)])
    return [list(row) for row in zip(*columns, strict=True)]


def frobenius_norm(matrix):
    return math.sqrt(sum(entry * entry for row in matrix for entry in row))


def spectral_norm(matrix, rounds=2000):
    """Largest singular value by the plain power iteration from a start with no symmetry."""
    vector = [1.0 + 0.37 * math.sin(3 * place + 1) for place in range(len(matrix[0]))]
    size = 0.0
    for _ in range(rounds):
        image = [sum(entry * value for entry, value in zip(row, vector, strict=True)) for row in matrix]
        back = [
            sum(row[place] * value for row, value in zip(matrix, image, strict=True)) for place in range(len(vector))
        ]
        length = math.sqrt(sum(value * value for value in back))
        if length == 0:
            return 0.0
        vector = [value / length for value in back]
        size = math.sqrt(length)
    image = [sum(entry * value for entry, value in zip(row, vector, strict=True)) for row in matrix]
    return math.sqrt(sum(value * value for value in image)) or size
