"""Local support: the distance to the k-th nearest reference example of a class, by Gemou et al. (2026)."""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import method
from trueline.counterfactual._source import GEMOU_2026
from trueline.counterfactual._support import Support


@method(GEMOU_2026, cost="the distances between the examples of each class; of a point, to those of one class")
class LocalSupport(Support):
    """Where each class has data: the radius of the ball around a point that holds k reference examples of the class.

    ``r_c(z)`` is the distance from z to its k-th nearest reference example of class c. A point is supported as class c
    if ``r_c(z) <= τ_c``, the ``quantile`` of the radii of the class's own examples, each left out of its own count.

    A class of fewer than k examples has an infinite radius, as in the later revision of the authors' code; the first
    took all there are instead. A class of k examples or fewer supports nothing.

    Args:
        reference: (M, ...) reference embeddings, see :class:`Support`.
        labels: (M,) their classes, int64.
        k: which neighbour, at least 1; the study tries 5, 10, 20 and 50.
        quantile: in (0, 1]; the study tries 0.5, 0.75 and 0.9. With 1 every reference example is supported as its own
            class.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or value is wrong, or no class has more than k examples.

    Example:
        >>> line = torch.arange(6.0)[:, None]
        >>> support = LocalSupport(line, torch.zeros(6, dtype=torch.int64), k=2)
        >>> support.thresholds.tolist(), support.radius(torch.tensor([[7.0]]), torch.tensor([0])).tolist()
        ([1.0], [3.0])
    """

    def __init__(
        self, reference: Float[Tensor, "M *shape"], labels: Int64[Tensor, " M"], k: int = 20, quantile: float = 0.5
    ) -> None:
        super().__init__(reference, labels)
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        if not 0 < quantile <= 1:
            raise ValueError(f"quantile must lie in (0, 1], got {quantile}; for the median pass 0.5")
        self.k = k
        self.quantile = quantile
        own = self.radius(self.flat, self.labels, exclude=torch.arange(len(self.flat)))
        self.thresholds = torch.full((self.num_classes,), -math.inf, dtype=torch.float64, device=self.flat.device)
        for c, pool in self._pools.items():
            if len(pool.rows) > k:
                self.thresholds[c] = own[pool.rows].quantile(quantile)
        if not own.isfinite().any():
            largest = max(len(pool.rows) for pool in self._pools.values())
            raise ValueError(
                f"the {k}-th nearest example needs a class with more than {k} reference examples, the largest has "
                f"{largest}; lower k or give more"
            )

    def radius(
        self, z: Float[Tensor, "N *shape"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, " N"]:
        """Return the distance from each point to the k-th nearest reference example of a class.

        Args:
            z: (N, ...) points.
            classes: (N,) the class whose examples count for each point.
            exclude: (N,) row of the reference set that does not count, -1 for none.

        Returns:
            (N,) radii; infinite where fewer than k examples count.
        """
        z, classes, exclude = self.read(z, classes, exclude)
        radius = torch.full(classes.shape, math.inf, dtype=torch.float64, device=z.device)
        for of, pool, points, left_out in self.by_class(z, classes, exclude):
            if len(pool.rows) >= self.k:
                radius[of] = pool.nearest(points, self.k, left_out)[0][:, -1]
        return radius

    def pull(
        self, z: Float[Tensor, "N D"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N D"]:
        """Return the step to the mean of the k nearest examples of a class, or of all if there are fewer.

        It is half the way down the mean of the k smallest squared distances: minus half its gradient.

        Args:
            z: (N, D) flat points, float64.
            classes: (N,) as in :meth:`radius`.
            exclude: (N,) as in :meth:`radius`.
        """
        z, classes, exclude = self.read(z, classes, exclude)
        steps = torch.zeros_like(z)
        for of, pool, points, left_out in self.by_class(z, classes, exclude):
            steps[of] = pool.mean_of_nearest(points, min(self.k, len(pool.rows)), left_out) - points
        return steps
