"""Explanations of many noisy copies of an input in one: SmoothGrad, its square, and VarGrad, around any explainer."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer, Reference, method
from trueline.explain._gradient import Gradient


@dataclass(frozen=True)
class _Noise(Explainer):
    explainer: Explainer = field(default_factory=Gradient)
    sigma: float = 0.1
    samples: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.explainer, Explainer):
            raise TypeError(
                f"explainer must be an Explainer, got {type(self.explainer).__name__}; a method of captum becomes one "
                "by FromCaptum"
            )
        if not 0 <= self.sigma < math.inf:
            raise ValueError(f"sigma must be at least 0 and finite, in units of the inputs, got {self.sigma}")
        if self.samples < self._least:
            raise ValueError(f"samples must be at least {self._least}, got {self.samples}")

    _least = 1

    @property
    def differentiable(self) -> bool:  # type: ignore[override]  # as the explainer inside, so not of the class
        """Whether maps carry a gradient: where those of the explainer do."""
        return self.explainer.differentiable

    @abstractmethod
    def _together(self, draws: Iterator[Tensor]) -> Tensor:
        """Return one map of each sample from the maps of all its copies."""

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *map"]:
        """Return the maps of all copies as one, see :class:`trueline.contracts.Explainer`."""

        def draws() -> Iterator[Tensor]:
            # Drawn on the CPU for one sample and added to all: a map depends neither on the others nor on the device.
            generator = torch.Generator().manual_seed(self.seed)
            for _ in range(self.samples):
                noise = self.sigma * torch.randn(inputs.shape[1:], generator=generator, dtype=torch.float64)
                copies = inputs + noise.to(inputs)
                yield self.explainer.maps(model, copies, target, create_graph=create_graph).double()

        return self._together(draws()).to(inputs.dtype)


@method(
    Reference(
        authors="Daniel Smilkov, Nikhil Thorat, Been Kim, Fernanda Viégas, Martin Wattenberg",
        title="SmoothGrad: removing noise by adding noise",
        venue="arXiv",
        year=2017,
        arxiv="1706.03825",
    ),
    cost="samples times that of the explainer",
)
@dataclass(frozen=True)
class NoiseMean(_Noise):
    """The mean of an explainer's maps of noisy copies, ``1/M Σ_m e(x + σ ε_m)``: SmoothGrad, for the gradient.

    The class that is explained is that of the clean input. All samples get the same noise. For one unit ``ReLU(w·x)``
    the mean tends to ``w Φ(w·x/(σ‖w‖))``; :class:`SmoothedUnits` has such forms without sampling.

    Args:
        explainer: what explains each copy.
        sigma: standard deviation of the noise in units of the inputs, at least 0. There is no default that suits every
            scale: .1 is common for standardised images; the authors take 10 to 20 % of the range of the values.
        samples: M copies, at least 1. The noise of the mean itself falls as 1/√M.
        seed: of the noise.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if ``explainer`` is none.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> map = NoiseMean(sigma=2.0).maps(model, torch.zeros(1, 2), torch.tensor([2]))
        >>> torch.allclose(map[0], model.weight[2])  # noise does not move the gradient of a linear model
        True
    """

    def _together(self, draws: Iterator[Tensor]) -> Tensor:
        return _sum(draws) / self.samples


@method(
    Reference(
        authors="Sara Hooker, Dumitru Erhan, Pieter-Jan Kindermans, Been Kim",
        title="A Benchmark for Interpretability Methods in Deep Neural Networks",
        venue="NeurIPS",
        year=2019,
        arxiv="1806.10758",
    ),
    cost="samples times that of the explainer",
)
@dataclass(frozen=True)
class NoiseSquare(_Noise):
    """The mean of the squares of an explainer's maps of noisy copies, ``1/M Σ_m e(x + σ ε_m)²``: SmoothGrad squared.

    A map has no sign: it says how much an entry counts, not for which side.

    Args:
        explainer: what explains each copy.
        sigma: standard deviation of the noise in units of the inputs, at least 0; see :class:`NoiseMean`.
        samples: M copies, at least 1.
        seed: of the noise.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if ``explainer`` is none.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> map = NoiseSquare(sigma=2.0).maps(model, torch.zeros(1, 2), torch.tensor([2]))
        >>> torch.allclose(map[0], model.weight[2] ** 2)
        True
    """

    def _together(self, draws: Iterator[Tensor]) -> Tensor:
        return _sum(map.square() for map in draws) / self.samples


@method(
    Reference(
        authors="Julius Adebayo, Justin Gilmer, Ian Goodfellow, Been Kim",
        title="Local Explanation Methods for Deep Neural Networks Lack Sensitivity to Parameter Values",
        venue="ICLR Workshop",
        year=2018,
        arxiv="1810.03307",
    ),
    cost="samples times that of the explainer",
)
@dataclass(frozen=True)
class NoiseVariance(_Noise):
    """The variance of an explainer's maps over noisy copies, ``1/(M - 1) Σ_m (e(x + σ ε_m) - mean)²``: VarGrad.

    Divided by M - 1, it has the right mean for any M: for ``½ xᵀAx`` that is ``σ² Σ_j A_ij²``. A map has no sign.

    Args:
        explainer: what explains each copy.
        sigma: standard deviation of the noise in units of the inputs, at least 0; see :class:`NoiseMean`.
        samples: M copies, at least 2.
        seed: of the noise.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if ``explainer`` is none.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> NoiseVariance(sigma=2.0).maps(model, torch.zeros(1, 2), torch.tensor([2])).tolist()
        [[0.0, 0.0]]
    """

    _least = 2

    def _together(self, draws: Iterator[Tensor]) -> Tensor:
        mean = spread = next(draws)
        spread = torch.zeros_like(mean)
        for count, map in enumerate(draws, start=2):  # Welford's updates: no difference of large squares
            away = map - mean
            mean = mean + away / count
            spread = spread + away * (map - mean)
        return spread / (self.samples - 1)


def _sum(draws: Iterator[Tensor]) -> Tensor:
    total = next(draws)
    for map in draws:
        total = total + map
    return total
