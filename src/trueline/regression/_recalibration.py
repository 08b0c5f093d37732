"""The contract of quantile recalibration, by Kuleshov, Fenner and Ermon (2018), and the distributions it gives."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import Fittable
from trueline.regression._calibration_error import check_pit
from trueline.regression._predictive import Predictive, check_levels, check_outcomes
from trueline.regression._scores import pinball_loss

R = TypeVar("R", bound="Recalibration")


class Recalibration(Fittable, ABC):
    """Learns the distribution φ of held-out PITs, and corrects predictions by it.

    A corrected prediction has the cdf ``φ(F(y))``, the quantiles ``F⁻¹(φ⁻¹(t))`` and, where φ has one, the density
    ``φ'(F(y))·f(y)``. If F was right already, φ is the identity up to noise. A method implements ``_fit``, ``cdf``,
    ``quantile`` and ``log_density`` on [0, 1].
    """

    has_density: ClassVar[bool] = True
    """Whether φ has a density; steps have none."""

    @property
    def num_levels(self) -> int:
        """At how many levels the score and the mean of a corrected distribution are summed."""
        return 200

    @abstractmethod
    def _fit(self, pit: Float[Tensor, " N"], generator: torch.Generator | None) -> None:
        """Set the attributes that end in ``_`` from PITs in ascending order, float64."""

    @abstractmethod
    def cdf(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ``φ`` at PITs in [0, 1], of the same shape.

        Args:
            pit: values in [0, 1].
        """

    @abstractmethod
    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, " L"]:
        """Return ``φ⁻¹`` at levels in [0, 1].

        Args:
            levels: (L,) probabilities.
        """

    @abstractmethod
    def log_density(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return ``ln φ'`` at PITs in [0, 1], of the same shape.

        Args:
            pit: values in [0, 1].
        """

    def cdf_below(self, pit: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Return the limit of φ from below; it differs from φ at steps alone.

        Args:
            pit: values in [0, 1].
        """
        return self.cdf(pit)

    def fit(self: R, pit: Float[Tensor, " N"], *, generator: torch.Generator | None = None) -> R:
        """Learn φ from held-out PITs; an earlier fit is forgotten.

        Args:
            pit: (N,) values from :func:`trueline.regression.pit`, of samples that neither trained the model nor stopped
                its training.
            generator: chooses PITs, for a method that keeps only some; None for one seeded with 0.

        Returns:
            Itself.

        Raises:
            ValueError: if there are no PITs or one lies outside [0, 1].
        """
        check_pit(pit)
        with self._learning():
            self._fit(pit.detach().double().sort().values, generator)
        return self

    def recalibrate(self, distribution: Predictive) -> "Recalibrated":
        """Return the corrected distribution.

        Args:
            distribution: N predicted distributions of the same model.

        Raises:
            RuntimeError: if the object is not fitted.
        """
        self._check_fitted()
        return Recalibrated(distribution, self)


@dataclass(frozen=True, eq=False)
class Recalibrated(Predictive):
    """Predicted distributions corrected by a fitted :class:`Recalibration`.

    Score and mean have no closed form: they are sums over quantiles at the centred levels ``(j - ½)/M``, M = 200, or
    (n + 1)/2 where a recalibration by steps has fewer than 399 PITs, whose mass 1/(n + 1) at infinity is left out.
    Steps at held-out PITs of exactly 0 or 1 put more mass at infinity, which makes the score infinite.

    Args:
        base: the predicted distributions.
        recalibration: the fitted correction.
    """

    base: Predictive
    recalibration: Recalibration

    @property
    def has_density(self) -> bool:
        """Whether the log density says something: never for a recalibration by steps."""
        return self.base.has_density and self.recalibration.has_density

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.base)

    def cdf(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return ``φ(F(y))``; see :meth:`Predictive.cdf`."""
        return self.recalibration.cdf(self.base.cdf(y).double())

    def cdf_below(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the probability of an outcome strictly below y; see :meth:`Predictive.cdf_below`."""
        below, upto = self.base.cdf_below(y).double(), self.base.cdf(y).double()
        # Below an atom of F the argument of φ is F(y-) itself; elsewhere it comes close to F(y) without reaching it.
        return torch.where(below < upto, self.recalibration.cdf(below), self.recalibration.cdf_below(upto))

    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, "N L"]:
        """Return ``F⁻¹(φ⁻¹(levels))``; see :meth:`Predictive.quantile`."""
        check_levels(levels)
        return self.base.quantile(self.recalibration.quantile(levels.double()))

    def log_density(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return ``ln φ'(F(y)) + ln f(y)``; see :meth:`Predictive.log_density`.

        Raises:
            ValueError: if the recalibration is made of steps.
        """
        return self.recalibration.log_density(self.base.cdf(y).double()) + self.base.log_density(y)

    def mean(self) -> Float[Tensor, " N"]:
        """Return the mean of each distribution, approximately.

        It is infinite where steps at held-out PITs of exactly 0 or 1 put mass at infinity, and NaN, since it does not
        exist, where they do so at both ends.
        """
        return self.quantile(self._centred()).mean(dim=1)

    def crps(self, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the score, approximately; see :meth:`Predictive.crps`."""
        check_outcomes(y, len(self))
        levels = self._centred()
        return 2 * pinball_loss(y.double(), self.quantile(levels), levels)

    def _centred(self) -> Tensor:
        count = self.recalibration.num_levels
        return (torch.arange(count, dtype=torch.float64) + 0.5) / count
