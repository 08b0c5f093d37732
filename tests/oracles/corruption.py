"""Steps of the common corruptions as plain loops over pixels."""

import math


def take_neighbours(image: list[list[float]], offsets: list[list[list[int]]], reach: int) -> list[list[float]]:
    """One pixel after the other, from the far corner back."""
    image = [list(row) for row in image]
    height, width = len(image), len(image[0])
    for i, y in enumerate(range(height - reach, reach, -1)):
        for j, x in enumerate(range(width - reach, reach, -1)):
            down, right = offsets[i][j]
            image[y][x] = image[y + down][x + right]
    return image


def smeared(image: list[list[float]], radius: float, sigma: float, degrees: float) -> list[list[float]]:
    """The weighted mean along a ray from each pixel, rounded to whole pixels, halves towards zero."""
    height, width = len(image), len(image[0])
    length = 2 * math.ceil(radius) + 1
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(length)]
    result = [[0.0] * width for _ in range(height)]
    for y in range(height):
        for x in range(width):
            for i, weight in enumerate(weights):
                row = y + math.ceil(i * math.sin(math.radians(degrees)) - 0.5)
                column = x + math.ceil(i * math.cos(math.radians(degrees)) - 0.5)
                row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
                result[y][x] += weight / sum(weights) * image[row][column]
    return result


def plasma(noise: list[list[list[list[float]]]], size: int, decay: float) -> list[list[float]]:
    """Diamonds and squares on a torus; noise[level][kind][row][column] in [-1, 1]."""
    field = [[0.0] * size for _ in range(size)]
    amplitude, step = 1.0, size
    for level in noise:
        half = step // 2

        def mean(y: int, x: int, around: list[tuple[int, int]]) -> float:
            return sum(field[(y + dy) % size][(x + dx) % size] for dy, dx in around) / 4

        square = [(sy * half, sx * half) for sy in (-1, 1) for sx in (-1, 1)]
        cross = [(-half, 0), (half, 0), (0, -half), (0, half)]
        for kind, (dy, dx, around) in enumerate([(half, half, square), (0, half, cross), (half, 0, cross)]):
            for i in range(size // step):
                for j in range(size // step):
                    y, x = i * step + dy, j * step + dx
                    field[y][x] = mean(y, x, around) + amplitude * level[kind][i][j]
        step, amplitude = half, amplitude / decay**2
    low, high = min(map(min, field)), max(map(max, field))
    return [[(value - low) / (high - low) for value in row] for row in field]
