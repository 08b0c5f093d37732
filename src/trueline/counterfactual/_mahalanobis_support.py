"""Support by the Mahalanobis distance to a class's mean, the alternative of Gemou et al. (2026)."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import method
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support

_RIDGE = 1e-3  # of the mean variance, added to each


@method(GEMOU_2026, cost="an eigendecomposition of each class's covariance; D² for a point")
class MahalanobisSupport(Support):
    """Where each class has data, as an ellipsoid: the distance to its mean in units of its own spread.

    ``r_c(z) = sqrt((z - μ_c)' (Σ_c + 0.001·tr(Σ_c)/D·I)⁻¹ (z - μ_c))`` with the mean and covariance of the class's
    reference examples. A point is supported if ``r_c(z) <= τ_c``, the ``quantile`` of the radii of the class's own
    examples, each left out of the mean and covariance that it is measured by. Measured by a covariance that contains
    them, examples of a class no larger than the dimension are all at nearly the same distance, and any new point is
    farther.

    A class of fewer than three examples, or of examples that are all the same, has an infinite radius.

    Args:
        reference: (M, ...) reference embeddings, see :class:`Support`.
        labels: (M,) their classes, int64.
        quantile: in (0, 1].

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or value is wrong, or no class has three examples that differ.

    Example:
        >>> points = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, -1.0], [0.0, 1.0]])
        >>> support = MahalanobisSupport(points, torch.zeros(4, dtype=torch.int64))
        >>> far, near = support.radius(torch.tensor([[0.0, 2.0], [2.0, 0.0]]), torch.tensor([0, 0])).tolist()
        >>> round(far / near, 2)
        2.0
    """

    def __init__(
        self, reference: Float[Tensor, "M *shape"], labels: Int64[Tensor, " M"], quantile: float = 0.5
    ) -> None:
        super().__init__(reference, labels)
        if not 0 < quantile <= 1:
            raise ValueError(f"quantile must lie in (0, 1], got {quantile}; for the median pass 0.5")
        self.quantile = quantile
        self._axes: dict[int, tuple[Tensor, Tensor]] = {}
        for c, pool in self._pools.items():
            if len(pool.rows) > 2 and pool.square.sum() > 0:
                self._axes[c] = _principal_axes(pool.points)
        own = self.radius(self.flat, self.labels, exclude=torch.arange(len(self.flat)))
        self.thresholds = torch.full((self.num_classes,), -math.inf, dtype=torch.float64, device=self.flat.device)
        if not self._axes:
            raise ValueError("a covariance needs a class with three reference examples that differ; give more")
        for c in self._axes:
            self.thresholds[c] = own[self._pools[c].rows].quantile(quantile)

    def radius(
        self, z: Float[Tensor, "N *shape"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, " N"]:
        """Return the Mahalanobis distance of each point to the mean of a class.

        Args:
            z: (N, ...) points.
            classes: (N,) the class for each point.
            exclude: (N,) row of the reference set that counts neither in the mean nor in the covariance, -1 for none.

        Returns:
            (N,) distances, a pure number; infinite for a class of too few examples.
        """
        z, classes, exclude = self.read(z, classes, exclude)
        radius = torch.full(classes.shape, math.inf, dtype=torch.float64, device=z.device)
        for of, pool, points, left_out in self.by_class(z, classes, exclude):
            c = int(classes[of[0]])
            if c not in self._axes:
                continue
            variance, axes = self._axes[c]
            offset, count = (points - pool.centre) @ axes, len(pool.rows)
            found = _distance(offset, torch.zeros_like(offset), variance, pool.points.shape[1], count)
            if left_out is not None:
                hidden = self.labels[left_out.clamp_min(0)] == c
                hidden &= left_out >= 0
                removed = (self.flat[left_out.clamp_min(0)] - pool.centre) @ axes
                apart = _distance(offset, removed, variance, pool.points.shape[1], count, without=True)
                found = torch.where(hidden, apart, found)
            radius[of] = found
        return radius

    def pull(
        self, z: Float[Tensor, "N D"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N D"]:
        """Return the step to the mean of a class, Newton's step down the squared distance.

        Args:
            z: (N, D) flat points, float64.
            classes: (N,) as in :meth:`radius`.
            exclude: (N,) rows of the reference set that do not count in the mean.
        """
        z, classes, exclude = self.read(z, classes, exclude)
        steps = torch.zeros_like(z)
        for of, pool, points, left_out in self.by_class(z, classes, exclude):
            if int(classes[of[0]]) not in self._axes:
                continue
            mean = pool.centre.expand_as(points)
            if left_out is not None:
                row = left_out.clamp_min(0)
                hidden = (left_out >= 0) & (self.labels[row] == classes[of])
                mean = mean - hidden[:, None] * (self.flat[row] - pool.centre) / (len(pool.rows) - 1)
            steps[of] = mean - points
        return steps


def _principal_axes(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Return the D variances of centred points along their principal axes, and the axes as columns."""
    variance, axes = torch.linalg.eigh(centred.T @ centred / (len(centred) - 1))
    return variance.clamp_min(0), axes


def _distance(
    offset: Tensor, removed: Tensor, variance: Tensor, dimension: int, count: int, *, without: bool = False
) -> Tensor:
    """Return the distances of points to a class, ``without`` one example that is removed from it.

    All in the principal axes and from the mean. Removing an example at δ from n leaves the mean ``-δ/(n - 1)`` and the
    covariance ``((n - 1)Σ - n/(n - 1)·δδ')/(n - 2)``: a diagonal matrix and one of rank one, whose inverse is that of
    Sherman and Morrison.
    """
    if not without:
        return (offset.square() / (variance + _RIDGE * variance.sum() / dimension)).sum(dim=1).sqrt()
    share = count / ((count - 1) * (count - 2))
    kept = variance * (count - 1) / (count - 2)
    total = (kept.sum() - share * removed.square().sum(dim=1, keepdim=True)).clamp_min(0)
    diagonal = kept + _RIDGE * total / dimension
    offset = offset + removed / (count - 1)
    along, across = (offset * removed / diagonal).sum(dim=1), (removed.square() / diagonal).sum(dim=1)
    plain = (offset.square() / diagonal).sum(dim=1)
    return (plain + share * along.square() / (1 - share * across)).clamp_min(0).sqrt()
