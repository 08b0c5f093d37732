"""What data support is: how far a point lies from the reference examples of a class, and how far is usual."""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from trueline.counterfactual._pool import Pool


class Support(ABC):
    """A fitted description of where each class has data; the base of the kinds of support.

    A kind of support computes, when it is made, ``thresholds`` (C,), the largest radius that counts as supported for
    each class, minus infinity for a class of too few examples. By ``scale``, the root mean square distance of two
    reference examples, steps and radii of a search are measured.

    Args:
        reference: (M, ...) reference embeddings, floating point and finite; neither the training samples of the head,
            around which it behaves unlike elsewhere, nor, unless ``exclude`` is used, the examples that are explained.
        labels: (M,) their classes, int64.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or value is wrong.
    """

    thresholds: Float[Tensor, " C"]

    def __init__(self, reference: Shaped[Tensor, "M *shape"], labels: Shaped[Tensor, " M"]) -> None:
        _check_reference(reference, labels)
        self.reference = reference.detach()
        self.labels = labels.to(reference.device)
        self.flat = self.reference.flatten(1).double()
        self.num_classes = int(self.labels.max()) + 1
        self._pools = {
            c: Pool.of(self.flat, (self.labels == c).nonzero().flatten()) for c in torch.unique(self.labels).tolist()
        }
        # Twice the summed variance: all pairs without forming them.
        self.scale = math.sqrt(2 * self.flat.var(dim=0, correction=1).sum().item()) if len(self.flat) > 1 else 0.0
        if not self.scale:
            raise ValueError("the reference examples are all the same; give some that differ")

    @abstractmethod
    def radius(
        self, z: Float[Tensor, "N *shape"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, " N"]:
        """Return how far each point lies from the data of a class.

        Args:
            z: (N, ...) points.
            classes: (N,) the class whose data count for each point.
            exclude: (N,) row of the reference set that does not count, -1 for none: a point that started as a
                reference example must not be its own support.

        Returns:
            (N,) radii, at least zero, float64 on the reference set's device; infinite for a class of too few examples.
        """

    @abstractmethod
    def pull(
        self, z: Float[Tensor, "N D"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Float[Tensor, "N D"]:
        """Return the step from each point to the middle of the data of a class that are near it, zero without data.

        Args:
            z: (N, D) flat points, float64.
            classes: (N,) as in :meth:`radius`.
            exclude: (N,) as in :meth:`radius`.
        """

    def threshold(self, classes: Int64[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the largest supported radius of each class; minus infinity where the class has too few examples.

        Args:
            classes: (N,) class numbers, also such as the reference set does not have.
        """
        classes = classes.to(self.thresholds.device)
        known = classes.clamp_max(self.num_classes - 1)
        return torch.where(classes < self.num_classes, self.thresholds[known], -math.inf)

    def supported(
        self, z: Float[Tensor, "N *shape"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> Bool[Tensor, " N"]:
        """Return whether each point lies as near to the data of a class as the class's own examples usually do.

        Args:
            z: (N, ...) points.
            classes: (N,) as in :meth:`radius`.
            exclude: (N,) as in :meth:`radius`.
        """
        return self.radius(z, classes, exclude=exclude) <= self.threshold(classes)

    def nearest(
        self, z: Float[Tensor, "N *shape"], classes: Int64[Tensor, " N"], *, exclude: Int64[Tensor, " N"] | None = None
    ) -> tuple[Int64[Tensor, " N"], Float[Tensor, " N"]]:
        """Return the row of the nearest reference example of a class and its distance; -1 and infinity if none is left.

        Args:
            z: (N, ...) points.
            classes: (N,) the class of the example for each point.
            exclude: (N,) as in :meth:`radius`.
        """
        z, classes, exclude = self.read(z, classes, exclude)
        row = torch.full_like(classes, -1)
        distance = torch.full(classes.shape, math.inf, dtype=torch.float64, device=z.device)
        for of, pool, points, left_out in self.by_class(z, classes, exclude):
            found, place = pool.nearest(points, 1, left_out)
            distance[of] = found[:, 0]
            row[of] = torch.where(found[:, 0].isfinite(), pool.rows[place[:, 0]], -1)
        return row, distance

    def read(
        self, z: Shaped[Tensor, "N ..."], classes: Int64[Tensor, " N"], exclude: Int64[Tensor, " N"] | None
    ) -> tuple[Float[Tensor, "N D"], Int64[Tensor, " N"], Int64[Tensor, " N"] | None]:
        """Return points, classes and exclusions, flat, in float64 and where the reference set lies.

        Args:
            z: (N, ...) points.
            classes: (N,) classes.
            exclude: (N,) rows of the reference set, or None.

        Raises:
            ValueError: if the points do not have the shape of the reference examples, or an exclusion is no row.
        """
        self.check_shape(z)
        device = self.flat.device
        if exclude is not None and not ((exclude >= -1) & (exclude < len(self.flat))).all():
            raise ValueError(f"exclude must hold rows of the {len(self.flat)} reference examples, or -1 for none")
        flat = z.detach().flatten(1).to(device, torch.float64)
        return flat, classes.to(device), None if exclude is None else exclude.to(device)

    def check_shape(self, z: Shaped[Tensor, "N ..."]) -> None:
        """Refuse points that live in another space than the reference examples.

        Args:
            z: (N, ...) points; they may be flat where the examples are not.

        Raises:
            ValueError: if they do.
        """
        if z.ndim < 2 or z[:1].numel() != self.flat.shape[1] * len(z[:1]):
            raise ValueError(
                f"points must have shape (N, ...) with the {self.flat.shape[1]} entries of a reference example, "
                f"{tuple(self.reference.shape[1:])}, got {tuple(z.shape)}"
            )

    def by_class(
        self, z: Float[Tensor, "N D"], classes: Int64[Tensor, " N"], exclude: Int64[Tensor, " N"] | None
    ) -> list[tuple[Int64[Tensor, " B"], Pool, Float[Tensor, "B D"], Int64[Tensor, " B"] | None]]:
        """Return, for each class that has data, which points ask for it, its data, the points and their exclusions.

        Args:
            z: (N, D) flat points.
            classes: (N,) classes.
            exclude: (N,) rows of the reference set, or None.
        """
        groups = []
        for c in torch.unique(classes).tolist():
            if c in self._pools:
                of = (classes == c).nonzero().flatten()
                groups.append((of, self._pools[c], z[of], None if exclude is None else exclude[of]))
        return groups


def _check_reference(reference: Tensor, labels: Tensor) -> None:
    if not reference.is_floating_point():
        raise TypeError(f"reference must be floating point, got {reference.dtype}; convert with reference.float()")
    if reference.ndim < 2 or reference.numel() == 0:
        raise ValueError(f"reference must have shape (M, ...) with M >= 1, got {tuple(reference.shape)}")
    if not (finite := reference.detach().flatten(1).isfinite().all(dim=1)).all():
        raise ValueError(f"reference must be finite, but example {int((~finite).nonzero()[0])} is not; clean the data")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels must be int64 class numbers, got {labels.dtype}; convert with labels.long()")
    if labels.shape != reference.shape[:1]:
        raise ValueError(
            f"labels must have shape ({len(reference)},) to match the reference, got {tuple(labels.shape)}"
        )
    if labels.min() < 0:
        raise ValueError(f"labels must be at least 0, got {int(labels.min())}")
