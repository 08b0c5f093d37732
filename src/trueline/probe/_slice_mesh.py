"""A plane in the input space, cut into the polygons on which a piecewise linear function is affine."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.probe._chords import Chords, cut_along, merged_along
from trueline.probe._convex_cells import Cells, glued, ranges
from trueline.probe._mesh import Combination, Mesh, TooManyPointsError, largest_member

_FLAT = 2.0**-44  # of the largest value: what is nearer to zero is zero


class SliceMesh(Mesh):
    """Points in a plane; the cells are convex polygons that cover a convex domain.

    Neighbours share their vertices: a corner of one on a side of the other is a vertex of both.

    Args:
        at: (P, 2) where the first points are, in the plane.
        cells: the polygons between them.
        tolerance: pieces that are narrower are not cut off, and points that are nearer become one; in units of the
            plane.
        limit: most points.
        numbers: most values of all points together at one operation.
    """

    def __init__(
        self,
        at: Float[Tensor, "P 2"],
        cells: Cells,
        tolerance: float,
        limit: float = float("inf"),
        numbers: float = float("inf"),
    ) -> None:
        super().__init__(len(at), limit)
        self.at = at
        self.cells = cells
        self.tolerance = tolerance
        self.numbers = numbers

    def split(self, values: Float[Tensor, "P U"]) -> None:
        """Cut the cells along the lines on which a column is zero.

        Args:
            values: (P, U) affine functions on every cell.

        Raises:
            TooManyPointsError: if there would be more points, or more values, than the limits.
        """
        self._check_room(values)
        flat = _FLAT * values.abs().amax()
        bends = (values.amax(dim=0) > flat) & (values.amin(dim=0) < -flat)
        values = values[:, bends]
        signs = _signs(values, flat)
        highest, lowest = self._extremes(signs)
        cell, column = ((highest > 0) & (lowest < 0)).nonzero(as_tuple=True)
        self._cut(signs, values, cell, column)

    def split_windows(self, values: Float[Tensor, "P U"], members: Int64[Tensor, "W K"]) -> None:
        """Cut the cells where another column becomes the largest of its window.

        Args:
            values: (P, U) affine functions on every cell.
            members: (W, K) the columns of each window; -1 for none.

        Raises:
            TooManyPointsError: if there would be more points, or more values, than the limits.
        """
        self.split_by_largest(values, members)

    def split_by_largest(self, values: Float[Tensor, "P U"], members: Int64[Tensor, "W K"]) -> Int64[Tensor, " R"]:
        """Do so and return of which cell each one is a part.

        Args:
            values: (P, U) as there.
            members: (W, K) as there.

        Raises:
            TooManyPointsError: as there.
        """
        self._check_room(values)
        root = torch.arange(len(self.cells.size), device=values.device)
        fresh = root
        asked: list[Tensor] = []
        flat = _FLAT * values.abs().amax()
        while True:
            values = self.refine(values)
            cell, window, first, second = self._rivals(values, members, fresh, flat)
            if len(cell) == 0:
                break
            asked.append(root[cell] * len(members) + window)
            pairs, column = torch.unique(first * values.shape[1] + second, return_inverse=True)
            gap = values[:, pairs // values.shape[1]] - values[:, pairs % values.shape[1]]
            parent = self._cut(_signs(gap, flat), gap, cell, column)
            root = root[parent]
            fresh = (torch.bincount(parent)[parent] > 1).nonzero().squeeze(1)
        if not asked:
            return root
        return self._glue(values, members, root, torch.cat(asked), flat)

    def inside(self, count: int) -> Combination:
        """Return a point inside each of some cells.

        Args:
            count: most cells.
        """
        total = len(self.cells.size)
        device = self.at.device
        some = torch.linspace(0, total - 1, min(count, total), device=device).long()
        cells = self.cells.take(some)
        place = torch.arange(int(cells.size.max()), device=device)
        there = place < cells.size[:, None]
        rows = cells.vertex[(cells.start()[:, None] + place).clamp_max(len(cells.vertex) - 1)]
        # Unequal, so that no symmetry hides what is not affine.
        weights = torch.where(there, 1 + (0.6180339887498949 * place.double()) % 1, 0)
        return Combination(torch.where(there, rows, rows[:, :1]), weights / weights.sum(dim=1, keepdim=True))

    def _check_room(self, values: Tensor) -> None:
        if values.numel() > self.numbers:
            raise TooManyPointsError

    def _extremes(self, values: Tensor, only: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the largest and the smallest value at the vertices of each cell, one column beside the other."""
        size, start = self.cells.size, self.cells.start()
        if only is not None:
            size, start = size[only], start[only]
        order = size.argsort(descending=True)
        size, start = size[order], start[order]
        highest = values[self.cells.vertex[start]]
        lowest = highest.clone()
        remaining = (size[:, None] > torch.arange(int(size.max()), device=size.device)).sum(dim=0).tolist()
        for place, many in enumerate(remaining[1:], start=1):
            here = values[self.cells.vertex[start[:many] + place]]
            torch.maximum(highest[:many], here, out=highest[:many])
            torch.minimum(lowest[:many], here, out=lowest[:many])
        back = order.argsort()
        return highest[back], lowest[back]

    def _cut(self, signs: Tensor, values: Tensor, cell: Tensor, column: Tensor) -> Tensor:
        """Cut cells along the zeros of columns, and return of which cell (R,) each piece is one.

        Args:
            signs: (P, F) of the values; overwritten.
            values: (P, F) affine functions.
            cell: (n,) which cells to cut.
            column: (n,) along which function each.
        """
        unchanged = torch.arange(len(self.cells.size), device=signs.device)
        if len(cell) == 0:
            return unchanged
        cells = self.cells
        count = cells.size[cell]
        place = ranges(cells.start()[cell], count)  # for each cut the vertices of its cell, one cut after the other
        cut = torch.arange(len(cell), device=cell.device).repeat_interleave(count)
        col = column[cut]
        vertex, after = cells.vertex[place], cells.vertex[cells.following()[place]]
        low, high = torch.minimum(vertex, after), torch.maximum(vertex, after)

        # A zero that is nearly at a vertex is at the vertex, for all cells around it.
        crosses = (signs[low, col] * signs[high, col] < 0).nonzero().squeeze(1)
        fraction, length = self._crossing(values, low[crosses], high[crosses], col[crosses])
        at_low, at_high = fraction * length <= self.tolerance, (1 - fraction) * length <= self.tolerance
        signs[low[crosses][at_low], col[crosses][at_low]] = 0
        signs[high[crosses][at_high], col[crosses][at_high]] = 0

        place_of_end, on_edge, regular = _changes(signs[vertex, col], cut, count)
        ends = place_of_end[regular]  # (n, 2) entries after which, or at which, the sign changes
        within = on_edge[regular]
        cell, column = cell[regular], column[regular]
        if len(cell) == 0:
            return unchanged

        # The crossings of all edges, each of which two cells may have found.
        entries = ends[within]
        points = self.points
        key = (low[entries] * points + high[entries]) * values.shape[1] + col[entries]
        unique, found = torch.unique(key, return_inverse=True)
        edge, by_column = unique // values.shape[1], unique % values.shape[1]
        fraction, length = self._crossing(values, edge // points, edge % points, by_column)
        group, edge_of, fraction_of = merged_along(edge, fraction, length, self.tolerance)
        if len(edge_of):
            self._add_between(edge_of // points, edge_of % points, fraction_of)
        edges, first, many = _runs(edge_of)

        # Into the polygons.
        mine = cells.edges(points)
        slot = torch.searchsorted(edges, mine).clamp_max(max(len(edges) - 1, 0))
        hit = edges[slot] == mine if len(edges) else torch.zeros_like(mine, dtype=torch.bool)
        extra = torch.where(hit, many[slot], 0) if len(edges) else torch.zeros_like(mine)
        moved = torch.arange(len(mine), device=mine.device) + extra.cumsum(0) - extra
        forward = cells.vertex < cells.vertex[cells.following()]
        filled = mine.new_empty(len(mine) + int(extra.sum()))
        filled[moved] = cells.vertex
        step = ranges(torch.zeros_like(extra), extra)
        whose = torch.arange(len(mine), device=mine.device).repeat_interleave(extra)
        if len(edges):
            step_along = torch.where(forward[whose], step, extra[whose] - 1 - step)
            filled[moved[whose] + 1 + step] = points + first[slot[whose]] + step_along
        self.cells = Cells(filled, cells.size + cells.sums(extra))

        # Where the chords end.
        flat_place = place[ends]
        end = moved[flat_place]
        if len(edges):
            entry = flat_place[within]
            along = group[found] - first[slot[entry]]
            end[within] += 1 + torch.where(forward[entry], along, extra[entry] - 1 - along)
        end = (end - self.cells.start()[cell][:, None]).sort(dim=1).values
        chords = self._chords(cell, end)
        self.cells, parent = cut_along(self.cells, chords, self.at, self._add_between, self.tolerance)
        return parent

    def _crossing(self, values: Tensor, low: Tensor, high: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Return how far from one vertex to another a column is zero, and their distance."""
        before, after = values[low, column], values[high, column]
        return before / (before - after), torch.linalg.vector_norm(self.at[high] - self.at[low], dim=1)

    def _chords(self, cell: Tensor, end: Tensor) -> Chords:
        start = self.cells.start()[cell]
        one, two = (self.at[self.cells.vertex[start + end[:, k]]] for k in (0, 1))
        along = (two - one) / torch.linalg.vector_norm(two - one, dim=1, keepdim=True).clamp_min(1e-300)
        normal = torch.stack([-along[:, 1], along[:, 0]], dim=1)
        return Chords(cell, end[:, 0], end[:, 1], normal, -(normal * (one + two) / 2).sum(dim=1))

    def _add_between(self, low: Tensor, high: Tensor, fraction: Tensor) -> Tensor:
        combination = Combination(torch.stack([low, high], dim=1), torch.stack([1 - fraction, fraction], dim=1))
        self.at = torch.cat([self.at, combination.of(self.at)])
        self.add(combination)
        return self.at

    def _rivals(
        self, values: Tensor, members: Tensor, cells: Tensor, flat: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return cells, windows and the pairs of columns of which both are somewhere the largest there."""
        none = cells.new_empty(0)
        if len(cells) == 0:
            return none, none, none, none
        leader = largest_member(values, members)
        highest, lowest = self._extremes(leader, cells)
        of, window = (highest != lowest).nonzero(as_tuple=True)
        if len(of) == 0:
            return none, none, none, none
        cell = cells[of]
        place = ranges(self.cells.start()[cell], self.cells.size[cell])
        case = torch.arange(len(cell), device=cell.device).repeat_interleave(self.cells.size[cell])
        leading = leader[self.cells.vertex[place], window[case]].long()
        both = torch.unique(case * members.shape[1] + leading)
        case_of, member = both // members.shape[1], both % members.shape[1]
        _, first, many = _runs(case_of)
        later = (first + many).repeat_interleave(many) - 1 - torch.arange(len(both), device=both.device)
        one = torch.arange(len(both), device=both.device).repeat_interleave(later)
        two = ranges(torch.arange(1, len(both) + 1, device=both.device), later)
        case = case_of[one]
        cell, window = cell[case], window[case]
        first, second = members[window, member[one]], members[window, member[two]]
        # Those of which neither is above the other in the whole cell.
        many = self.cells.size[cell]
        vertex = self.cells.vertex[ranges(self.cells.start()[cell], many)]
        pair = torch.arange(len(cell), device=cell.device).repeat_interleave(many)
        gap = values[vertex, first[pair]] - values[vertex, second[pair]]
        above = torch.bincount(pair[gap > flat], minlength=len(cell)) > 0
        below = torch.bincount(pair[gap < -flat], minlength=len(cell)) > 0
        mixed = above & below
        return cell[mixed], window[mixed], first[mixed], second[mixed]

    def _glue(self, values: Tensor, members: Tensor, root: Tensor, asked: Tensor, flat: Tensor) -> Tensor:
        """Glue pieces of a cell that agree in the winner of every window; return of which cell each is a part.

        A line through a whole cell parts two members also where a third is larger.

        Args:
            values: (P, U) the functions.
            members: (W, K) the columns of each window.
            root: (R,) the cell of each piece.
            asked: (n,) ``cell · W + window``, once for each line through the cell.
            flat: what differs by less is equal.
        """
        asked, lines = torch.unique(asked, return_counts=True)
        roots, windows = asked // len(members), asked % len(members)
        several = torch.zeros(int(root.max()) + 1, dtype=torch.bool, device=root.device)
        several[roots[lines > 1]] = True
        roots, windows = roots[several[roots]], windows[several[roots]]
        pieces = several[root].nonzero().squeeze(1)
        if len(pieces) == 0:
            return root
        glued_roots, first, many = _runs(roots)
        slot = torch.searchsorted(glued_roots, root[pieces])
        case_window = windows[ranges(first[slot], many[slot])]
        piece = pieces.repeat_interleave(many[slot])
        size = self.cells.size[piece]
        vertex = self.cells.vertex[ranges(self.cells.start()[piece], size)]
        case = torch.arange(len(piece), device=piece.device).repeat_interleave(size)
        means = []
        for columns in members.T:
            mine = columns[case_window]
            there = values[vertex, mine.clamp_min(0)[case]]
            mean = values.new_zeros(len(piece)).index_add_(0, case, there) / size
            means.append(mean.masked_fill(mine < 0, -torch.inf))
        mean = torch.stack(means, dim=1)
        winner = (mean >= mean.amax(dim=1, keepdim=True) - flat).int().argmax(dim=1)
        pattern = torch.zeros_like(root).index_add_(0, piece, _scrambled(case_window * members.shape[1] + winner))
        pattern[~several[root]] = torch.arange(len(root), device=root.device)[~several[root]]
        (found, _), group = torch.unique(torch.stack([root, pattern]), dim=1, return_inverse=True)
        self.cells = glued(self.cells, group, self.at)
        return torch.as_tensor(found)


def _signs(values: Tensor, flat: Tensor) -> Tensor:
    return (values > flat).to(torch.int8) - (values < -flat).to(torch.int8)


def _runs(ordered: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values of an ordered vector, where each begins and how often it is there."""
    value, many = torch.unique_consecutive(ordered, return_counts=True)
    return value, many.cumsum(0) - many, many


def _changes(sign: Tensor, cut: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where signs change around polygons.

    Args:
        sign: (m,) at the vertices of polygons, one after the other.
        cut: (m,) the number of the polygon.
        count: (n,) how many vertices it has.

    Returns:
        For each polygon (n, 2) the two entries before a change; whether (n, 2) it is after that entry rather than at
        it, where the sign is zero; and which (n,) polygons have two changes, as those of an affine function do.
    """
    start = count.cumsum(0) - count
    entry = torch.arange(len(sign), device=sign.device)
    last = torch.where(sign != 0, entry, -1).cummax(dim=0).values  # not zero, up to here
    earlier = torch.cat([last.new_full((1,), -1), last[:-1]])
    earlier = torch.where(earlier < start[cut], last[start + count - 1][cut], earlier)
    changes = ((sign != 0) & (sign == -sign[earlier.clamp_min(0)])).nonzero().squeeze(1)
    regular = torch.bincount(cut[changes], minlength=len(count)) == 2
    changes = changes[regular[cut[changes]]]
    before = torch.where(changes == start[cut[changes]], changes + count[cut[changes]], changes) - 1
    ends = before.new_zeros(len(count), 2)
    ends[regular] = before.view(-1, 2)
    return ends, sign[ends] != 0, regular


def _scrambled(number: Tensor) -> Tensor:
    """Return one of 2^64 numbers for each, so that equal sums mean equal sets (the mixer of SplitMix64)."""
    mixed = (number + 1) * -0x61C8864680B583EB
    mixed = (mixed ^ (mixed >> 30)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ (mixed >> 27)) * -0x6B2FB644ECCEEE15
    return mixed ^ (mixed >> 31)
