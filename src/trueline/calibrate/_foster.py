"""The randomised calibrated forecaster of Foster (1999), for one binary sequence."""

import random


class Foster:
    """States midpoints of M cells of [0, 1] so that in each cell stated and observed frequency meet.

    Cell i is ``[i/M, (i+1)/M]``; its average is that of the outcomes seen when its midpoint was stated, or the midpoint
    before the first. Cells whose average lies inside are good. If the pivot is good it is played, else the first good
    cell. If none is, two neighbours exist of which the lower has its average above and the upper below; either is
    played, with probabilities that make the expected errors cancel.

    Args:
        sums: for each cell the sum of its outcomes; updated in place.
        counts: for each cell their number; updated in place.
    """

    def __init__(self, sums: list[float], counts: list[int]) -> None:
        self.sums, self.counts = sums, counts

    def play(self, pivot: int, seed: int, step: int) -> int:
        """Return the cell to state.

        Args:
            pivot: the cell that is preferred.
            seed: decides, with the step, the one random number that may be needed.
            step: how many outcomes came before.

        Returns:
            Its number.
        """
        order: list[int] = [pivot, *range(len(self.sums))]
        for cell in order:
            lower, upper = self._edges(cell)
            if lower <= self._average(cell) <= upper:
                return cell
        # The first cell cannot be too high and the last not too low; so the first that is too high has one below it,
        # which is too low.
        above = next(cell for cell in range(1, len(self.sums)) if self._average(cell) < self._edges(cell)[0])
        edge = self._edges(above)[0]
        deficit, excess = edge - self._average(above), self._average(above - 1) - edge
        drawn = random.Random((seed << 64) + step).random()
        below_wins: bool = drawn * (deficit + excess) < deficit
        return above - 1 if below_wins else above

    def learn(self, cell: int, label: int) -> None:
        """Add an outcome to the cell that was stated.

        Args:
            cell: its number.
            label: 0 or 1.
        """
        self.sums[cell] += label
        self.counts[cell] += 1

    def _average(self, cell: int) -> float:
        return self.sums[cell] / self.counts[cell] if self.counts[cell] else (cell + 0.5) / len(self.sums)

    def _edges(self, cell: int) -> tuple[float, float]:
        return cell / len(self.sums), (cell + 1) / len(self.sums)
