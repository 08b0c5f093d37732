"""DPS written as its definition reads: counts in plain Python floats, one sample at a time."""

import math


class LiteralDPS:
    """Dirichlet counts per sample, faded and added to at every visit."""

    def __init__(self, labels, num_classes, *, c, gamma, eps, temperature=1.0):
        self.gamma, self.temperature = gamma, temperature
        self.counts = [[c if j == label else eps for j in range(num_classes)] for label in labels]

    def update(self, index, logits):
        for i, row in zip(index, logits, strict=True):
            top = max(row)
            weights = [math.exp((z - top) / self.temperature) for z in row]
            self.counts[i] = [
                self.gamma * count + weight / sum(weights)
                for count, weight in zip(self.counts[i], weights, strict=True)
            ]

    def totals(self):
        return [sum(row) for row in self.counts]

    def targets(self):
        return [[count / sum(row) for count in row] for row in self.counts]
