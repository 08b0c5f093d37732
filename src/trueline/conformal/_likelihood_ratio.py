"""Likelihood ratios of target to source inputs, from a logistic regression that tells them apart."""

from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.conformal._weighted_conformal import TIBSHIRANI
from trueline.contracts import Fittable, check_tensors, deal_folds, default_generator, method

D = TypeVar("D", bound="DomainClassifier")

_STEPS = 100


class LikelihoodRatios(NamedTuple):
    """Likelihood ratios of target to source inputs, at the samples that they were estimated from.

    Attributes:
        source: (N,) at the source samples.
        target: (M,) at the target samples.
    """

    source: Float[Tensor, " N"]
    target: Float[Tensor, " M"]


@method(
    TIBSHIRANI,
    cost="a few Newton steps of O((N + M)·D² + D³) for D features",
)
class DomainClassifier(Fittable):
    """Estimates ``dQ/dP`` of target inputs Q to source inputs P by a logistic regression on features.

    With r the estimated odds of target against source, the ratio is ``r·N/M``. The regression minimises ``Σ log loss +
    penalty/2·||w||²`` of standardised features, the offset free. The ratio is right if its logarithm is linear in the
    features, as it is between Gaussians of one covariance; many features for few samples make it unstable, and its
    error goes into the coverage.

    Args:
        penalty: of the weights of standardised features, above 0.

    Attributes:
        centre_: (D,) means of the features.
        scale_: (D,) their standard deviations, 1 for a constant one.
        weights_: (D + 1,) of the standardised features, and the offset last.
        log_prior_: ``ln(N/M)``.

    Example:
        >>> source, target = torch.tensor([[-1.0], [0.0], [1.0]]), torch.tensor([[0.0], [1.0], [2.0]])
        >>> ratio = DomainClassifier().fit(source, target).ratios(torch.tensor([[0.5], [2.0]]))
        >>> [round(value, 2) for value in ratio.tolist()]
        [1.0, 2.78]
    """

    centre_: Float[Tensor, " D"]
    scale_: Float[Tensor, " D"]
    weights_: Float[Tensor, " E"]
    log_prior_: float

    def __init__(self, *, penalty: float = 1.0) -> None:
        if not penalty > 0:
            raise ValueError(f"penalty must be above 0, got {penalty}; without it separable samples have no optimum")
        self.penalty = penalty

    def fit(self: D, source: Float[Tensor, "N D"], target: Float[Tensor, "M D"]) -> D:
        """Learn to tell target from source samples; an earlier fit is forgotten.

        Args:
            source: (N, D) features of source samples, such as the last layer's.
            target: (M, D) features of target samples.

        Returns:
            Itself.

        Raises:
            ValueError: if shapes do not fit, something is empty or a value is not finite.
            TypeError: if a dtype is not floating point.
        """
        pooled = torch.cat([check_features("source", source), check_features("target", target, source.shape[1])])
        with self._learning():
            self.centre_, self.scale_ = standardisation(pooled)
            self.log_prior_ = float(torch.tensor(len(source) / len(target), dtype=torch.float64).log())
            label = (torch.arange(len(pooled), device=pooled.device) >= len(source)).double()
            self.weights_ = _logistic(self._design(pooled), label, self.penalty)
        return self

    def ratios(self, features: Float[Tensor, "K D"]) -> Float[Tensor, " K"]:
        """Return the likelihood ratio at new samples.

        Args:
            features: (K, D) their features.

        Returns:
            (K,) positive ratios, float64, about 1 on average over source samples.

        Raises:
            RuntimeError: if the object is not fitted.
            ValueError: if the shape does not fit or a value is not finite.
        """
        self._check_fitted()
        values = check_features("features", features, len(self.centre_))
        return (self._design(values) @ self.weights_ + self.log_prior_).exp()

    def _design(self, values: Tensor) -> Tensor:
        return torch.cat([(values - self.centre_) / self.scale_, torch.ones_like(values[:, :1])], dim=1)


@method(TIBSHIRANI, cost="one fit of a logistic regression for each fold")
def likelihood_ratio(
    source: Float[Tensor, "N D"],
    target: Float[Tensor, "M D"],
    *,
    penalty: float = 1.0,
    folds: int = 5,
    generator: torch.Generator | None = None,
) -> LikelihoodRatios:
    """Return likelihood ratios of target to source inputs, each from a :class:`DomainClassifier` of the other folds.

    A ratio that a classifier gives the samples it was fitted to is too extreme; cross-fitting avoids that.

    Args:
        source: (N, D) features of source samples, such as those for calibration.
        target: (M, D) features of target samples.
        penalty: as for :class:`DomainClassifier`.
        folds: number of folds, from 2 to the smaller number of samples.
        generator: deals the samples to the folds; None for one seeded with 0.

    Returns:
        The ratios, float64: weights for :class:`WeightedConformal`.

    Raises:
        ValueError: if shapes do not fit, a value is not finite or ``folds`` is not what is described above.
        TypeError: if a dtype is not floating point.

    Example:
        >>> source, target = torch.linspace(-1, 1, 9)[:, None], torch.linspace(0, 2, 9)[:, None]
        >>> ratios = likelihood_ratio(source, target)
        >>> bool(ratios.source[0] < 0.5 < 1.5 < ratios.target[-1])
        True
    """
    check_features("source", source)
    check_features("target", target, source.shape[1])
    if not 2 <= folds <= min(len(source), len(target)):
        raise ValueError(f"folds must lie in [2, {min(len(source), len(target))}], got {folds}")
    generator = default_generator(generator)
    dealt = [deal_folds(len(values), folds, generator).to(values.device) for values in (source, target)]
    found = [torch.empty(len(values), dtype=torch.float64, device=values.device) for values in (source, target)]
    for fold in range(folds):
        apart = [fold_of == fold for fold_of in dealt]
        classifier = DomainClassifier(penalty=penalty).fit(source[~apart[0]], target[~apart[1]])
        for values, own, ratios in zip((source, target), apart, found, strict=True):
            ratios[own] = classifier.ratios(values[own])
    return LikelihoodRatios(*found)


def check_features(name: str, values: Float[Tensor, "N D"], columns: int | None = None) -> Float[Tensor, "N D"]:
    """Return features in double precision, after checking them.

    Args:
        name: what they are called.
        values: (N, D) finite numbers.
        columns: the D that is asked for, or None.

    Returns:
        (N, D) float64.

    Raises:
        TypeError: if they are not floating point.
        ValueError: if the shape does not fit or a value is not finite.
    """
    check_tensors(**{name: values})
    if not values.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
    if values.ndim != 2 or values.numel() == 0 or columns not in (None, values.shape[1]):
        expected = "D" if columns is None else columns
        raise ValueError(f"{name} must have shape (N, {expected}) with N >= 1, got {tuple(values.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"{name} must be finite; leave out the samples that are not")
    return values.detach().double()


def standardisation(values: Float[Tensor, "N D"]) -> tuple[Tensor, Tensor]:
    """Return the mean of each column, and its standard deviation, or 1 for a constant one.

    Args:
        values: (N, D) float64.

    Returns:
        Two (D,) tensors.
    """
    centre = values.mean(dim=0)
    spread = (values - centre).square().mean(dim=0).sqrt()
    constant = spread <= 1e-12 * values.abs().amax(dim=0)  # rounding of the mean is no spread
    return centre, torch.where(constant, 1.0, spread)


def _logistic(design: Tensor, label: Tensor, penalty: float) -> Tensor:
    """Return the weights of a penalised logistic regression, by Newton steps that are halved until they help."""
    ridge = torch.full_like(design[0], penalty)
    ridge[-1] = 0

    def loss(weights: Tensor) -> Tensor:
        score = design @ weights
        return (torch.nn.functional.softplus(score) - label * score).sum() + (ridge * weights.square()).sum() / 2

    weights, value = torch.zeros_like(ridge), loss(torch.zeros_like(ridge))
    for _ in range(_STEPS):
        chance = (design @ weights).sigmoid()
        slope = design.T @ (chance - label) + ridge * weights
        curvature = design.T @ (design * (chance * (1 - chance))[:, None]) + ridge.diag()
        step = torch.linalg.solve(curvature, slope)
        length = 1.0
        while length > 1e-10 and not loss(weights - length * step) <= value:
            length /= 2
        weights, before = weights - length * step, value
        value = loss(weights)
        if before - value <= 1e-13 * before:
            break
    return weights
