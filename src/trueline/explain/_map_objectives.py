"""What an attack on a map is after: the largest entries, or the centre of mass."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.explain._centre_shift import centre, check_images
from trueline.explain._top_k_intersection import entries, on_top

_TINY = 1e-30


class MapObjective(ABC):
    """What an attack lowers, and how what it has found is judged; both of the sizes of the entries of a map.

    Your own objective derives from this class. One value is for one sample and knows nothing of the others.
    """

    @abstractmethod
    def loss(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return what signed steps lower, differentiable in ``sizes``.

        Args:
            sizes: (B, ...) what :func:`magnitude` makes of the maps under attack.
            reference: (B, ...) that of the maps compared with, those of the samples as they are.
        """

    @abstractmethod
    def kept(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return how much of the reference is left, float64; the point with the lowest value is the worst.

        Args:
            sizes: (B, ...) what :func:`magnitude` makes of the maps under attack.
            reference: (B, ...) that of the maps compared with, those of the samples as they are.
        """


@dataclass(frozen=True)
class TopK(MapObjective):
    """Push the largest entries out of the largest ones.

    Lowers ``Σ_{j∈T} |e_j| / Σ_j |e_j|`` with T the k largest entries of the clean map; judged by
    :func:`top_k_intersection`.

    Args:
        k: a count, or below 1 a share of the entries.

    Example:
        >>> TopK(2).kept(torch.tensor([[1.0, 3.0, 2.0]]), torch.tensor([[3.0, 2.0, 1.0]])).item()
        0.5
    """

    k: float = 0.1

    def loss(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return the share that lies on the entries that were the largest."""
        rows, before = sizes.flatten(1), reference.flatten(1)
        shares = rows / rows.sum(dim=1, keepdim=True).clamp(min=_TINY)
        return (shares * on_top(before, entries(self.k, before.shape[1]))).sum(dim=1)

    def kept(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return the intersection in [0, 1]."""
        rows, before = sizes.flatten(1).double(), reference.flatten(1).double()
        count = entries(self.k, before.shape[1])
        return torch.minimum(on_top(rows, count), on_top(before, count)).sum(dim=1) / count


@dataclass(frozen=True)
class MassCentre(MapObjective):
    """Move the centre of mass of an image's map.

    Raises ``‖c(e) - c(e_clean)‖²``; judged by :func:`centre_shift`.

    Example:
        >>> MassCentre().kept(torch.eye(3)[None], torch.eye(3)[None]).item()
        -0.0
    """

    def loss(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return minus the square of the distance of the centres."""
        check_images(reference, "the centre of mass")
        return -(centre(sizes) - centre(reference)).square().sum(dim=1)

    def kept(self, sizes: Float[Tensor, "B *map"], reference: Float[Tensor, "B *map"]) -> Float[Tensor, " B"]:
        """Return minus the distance in pixels."""
        check_images(reference, "the centre of mass")
        far: Tensor = torch.linalg.vector_norm(centre(sizes.double()) - centre(reference.double()), dim=1)
        return -far
