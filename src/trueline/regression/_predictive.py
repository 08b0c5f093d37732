"""The contract of predictive distributions of one real number a sample."""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from trueline.contracts import check_tensors


class Predictive(ABC):
    """What a model predicts for N samples: one distribution of a real number for each.

    Values ``y`` come as (N,), one a sample, or as (N, K), several of each. Results keep the gradient of the parameters,
    so that scores serve as losses, and are in the wider dtype of parameters and values.
    """

    @property
    def has_density(self) -> bool:
        """Whether the log density says something; a score of a distribution without one is never its log density."""
        return True

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of samples."""

    @abstractmethod
    def cdf(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the probability of an outcome of at most y.

        Args:
            y: (N,) or (N, K) values, in the unit of the outcome.

        Returns:
            Probabilities of the same shape.
        """

    @abstractmethod
    def quantile(self, levels: Float[Tensor, " L"]) -> Float[Tensor, "N L"]:
        """Return the smallest values that an outcome is at most with the given probabilities.

        Args:
            levels: (L,) probabilities in [0, 1].

        Returns:
            (N, L) values in the unit of the outcome; the ends of the support at 0 and 1, which may be infinite.
        """

    @abstractmethod
    def log_density(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the natural logarithm of the density.

        Args:
            y: (N,) or (N, K) values, in the unit of the outcome.

        Returns:
            Log densities of the same shape, in nats per unit of the outcome.
        """

    @abstractmethod
    def mean(self) -> Float[Tensor, " N"]:
        """Return the mean of each distribution, in the unit of the outcome."""

    @abstractmethod
    def crps(self, y: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
        """Return the continuous ranked probability score, ``∫ (F(x) - 1[y <= x])² dx``.

        Args:
            y: (N,) outcomes.

        Returns:
            (N,) scores in the unit of the outcome, at least zero; smaller is better.
        """

    def cdf_below(self, y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *K"]:
        """Return the probability of an outcome strictly below y; it differs from the cdf at atoms alone.

        Args:
            y: (N,) or (N, K) values, in the unit of the outcome.

        Returns:
            Probabilities of the same shape.
        """
        return self.cdf(y)


def check_levels(levels: Float[Tensor, " L"]) -> None:
    """Refuse what are no probabilities.

    Args:
        levels: must be (L,) in [0, 1], L at least 1.

    Raises:
        ValueError: if they are not.
    """
    check_tensors(levels=levels)
    if levels.ndim != 1 or len(levels) == 0 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"levels must be (L,) probabilities in [0, 1], got shape {tuple(levels.shape)}: {levels}")


def check_outcomes(y: Float[Tensor, "N *K"], size: int) -> None:
    """Refuse outcomes that do not belong to so many distributions.

    Args:
        y: must be (N,) or (N, K), floating point and without NaN.
        size: N.

    Raises:
        TypeError: if the dtype is wrong.
        ValueError: if the shape or a value is.
    """
    check_tensors(y=y)
    if not y.is_floating_point():
        raise TypeError(f"y must be floating point, got {y.dtype}; convert with y.float()")
    if y.ndim not in (1, 2) or len(y) != size:
        raise ValueError(f"y must have shape ({size},) or ({size}, K), one row a distribution, got {tuple(y.shape)}")
    if y.isnan().any():
        raise ValueError("y must not hold NaN; remove such samples")


def against(parameter: Float[Tensor, " N"], y: Float[Tensor, "N *K"]) -> Float[Tensor, "N *one"]:
    """Return a parameter of each sample in a shape that broadcasts against values (N,) or (N, K).

    Args:
        parameter: (N,).
        y: (N,) or (N, K).
    """
    return parameter if y.ndim == 1 else parameter[:, None]


def check_parameters(**parameters: Float[Tensor, "N *K"]) -> None:
    """Refuse parameters of distributions that differ in shape or are not finite.

    Args:
        **parameters: tensors of one shape, by name.

    Raises:
        TypeError: if a dtype is wrong.
        ValueError: if a shape or value is.
    """
    check_tensors(**parameters)
    first = next(iter(parameters.values()))
    for name, values in parameters.items():
        if not values.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
        if values.shape != first.shape or values.numel() == 0:
            shapes = ", ".join(f"{key} {tuple(value.shape)}" for key, value in parameters.items())
            raise ValueError(f"parameters must have one shape with at least one sample, got {shapes}")
        if not values.isfinite().all():
            raise ValueError(f"{name} must be finite; {int((~values.isfinite()).sum())} entries are not")
        if name == "scale" and not (values > 0).all():
            raise ValueError(
                f"scale must be positive, got {values.min().item():.4g}; floor it, as with clamp_min(1e-6)"
            )
