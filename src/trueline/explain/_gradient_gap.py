"""The mean squared difference of two networks' gradients: the explanation gap in full, by Mehrpanah et al. (2025)."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    ClassValue,
    Record,
    check_samples,
    chunks,
    default_generator,
    distribution_chart,
    left_as_found,
    method,
    run_logits,
)
from trueline.explain._attribute import predicted
from trueline.explain._expected_frequency import COMPLEXITY
from trueline.explain._gradient import Gradient
from trueline.numerics import Interval


@dataclass(frozen=True, eq=False)
class GradientGap(Record):
    """Squared distances between the gradients of two networks, sample by sample.

    Args:
        gap: (N,) squared distance, mean over the draws of noise.
        squared_norm: (N,) squared length of the first network's gradient, mean over the draws.
        target: (N,) the class that is explained.
        mean: mean of ``gap``, the Monte Carlo estimate of the integral, and its 95 % Student interval over the samples.
        relative: sum of ``gap`` over sum of ``squared_norm``; 1 is as far off as no gradient at all. Infinite where the
            first network's gradients are all zero.
        standard_error: of the mean, for the choice of samples and of noise together; infinite for one sample.
        noise: standard deviation of the noise around each sample, in units of the inputs.
        draws: of noise.
    """

    gap: Float[Tensor, " N"]
    squared_norm: Float[Tensor, " N"]
    target: Int64[Tensor, " N"]
    mean: Interval
    relative: float
    standard_error: float
    noise: float
    draws: int

    units: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(
            ("gap", "squared_norm", "mean", "standard_error"), "(unit of the output / unit of the input) squared"
        ),
        "relative": "1",
        "noise": "unit of the input",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in two lines."""
        around = f"with noise of {self.noise:g} around them, {self.draws} draws" if self.noise else "as they are"
        return (
            f"gradients of two networks at {len(self.gap)} samples, {around}: mean squared distance "
            f"{self.mean.value:.4g} (standard error {self.standard_error:.2g})\n"
            f"that is {self.relative:.3g} of the mean squared length of the first network's gradient"
        )

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples with at most a given squared distance, and the mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.gap, "squared distance of the gradients", mean=self.mean.value, purpose="GradientGap.plot()"
        )


@method(COMPLEXITY, cost="a forward and a backward pass through both networks for each draw of noise")
def gradient_gap(
    model: nn.Module,
    other: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    target: Int64[Tensor, " N"] | None = None,
    *,
    of: ClassValue = "logit",
    noise: float = 0.0,
    draws: int = 1,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> GradientGap:
    """Return the squared distance between the gradients of two networks at each sample.

    ``G(f, f̃) = ∫ ‖∇f_c(x) - ∇f̃_c(x)‖² dx``, as the mean over the samples of ``E_ε ‖∇f_c(x + ε) - ∇f̃_c(x + ε)‖²``, ε
    normal with the given standard deviation. With f̃ a smoothed f, such as a steered twin, it is the error of explaining
    f by the gradient of f̃; :func:`explanation_gap` needs no f̃ and compares spectra in its place.

    The class is fixed from the prediction of the first network at the sample itself. Draws of noise are the same for
    all samples, so that the value of a sample does not depend on the others; ``standard_error`` adds their share,
    ``sqrt(s²/N + d²/M)`` with s the deviation over N samples and d that of the M draws' means.

    Args:
        model: f, any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        other: f̃, of the same outputs; it may share weights with f.
        inputs: (N, ...) floating point, on the models' device.
        target: (N,) class numbers, int64, or None for the classes that ``model`` predicts for these inputs.
        of: the score that is differentiated, see :class:`Gradient`.
        noise: standard deviation of ε, at least 0, in units of the inputs.
        draws: M, draws of ε, at least 1; more than 1 needs noise.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the noise; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or gradients are not finite, or a batch-norm layer has no
            running statistics, so that samples depend on each other.
        TypeError: if a dtype is wrong, or a model is not a module that returns a tensor.

    Example:
        >>> first, second = nn.Linear(4, 3), nn.Linear(4, 3)
        >>> found = gradient_gap(first, second, torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))
        >>> apart = (first.weight - second.weight).detach().double().square().sum(dim=1)
        >>> torch.allclose(found.gap, apart[found.target])
        True
    """
    for network in (model, other):
        check_samples(network, inputs, target, chunk_size)
    if not (noise >= 0 and math.isfinite(noise)):
        raise ValueError(f"noise must be a standard deviation of at least 0, got {noise}")
    if draws < 1 or (draws > 1 and noise == 0):
        raise ValueError(f"draws must be at least 1, and 1 without noise, got {draws} with noise {noise:g}")
    generator = default_generator(generator)
    start = generator.get_state()
    gaps, norms, targets = [], [], []
    with (
        torch.inference_mode(mode=False),
        sdpa_kernel(SDPBackend.MATH),
        left_as_found(model),
        left_as_found(other),
    ):
        for first, (rows, classes) in chunks(chunk_size, inputs, target):
            assert rows is not None
            rows = rows.detach().clone()
            with torch.no_grad():
                chosen = predicted(run_logits(model, rows)) if classes is None else classes.to(rows.device)
            generator.set_state(start)  # each chunk meets the same draws
            found = [
                _distances(model, other, rows + _noise(rows, noise, generator), chosen, of, first) for _ in range(draws)
            ]
            gaps.append(torch.stack([gap for gap, _ in found]))
            norms.append(torch.stack([norm for _, norm in found]))
            targets.append(chosen.cpu())
    by_draw, norm = torch.cat(gaps, dim=1), torch.cat(norms, dim=1).mean(dim=0)  # (M, N), (N,)
    gap = by_draw.mean(dim=0)
    return GradientGap(
        gap=gap,
        squared_norm=norm,
        target=torch.cat(targets),
        mean=Interval.of_mean(gap),
        relative=_ratio(gap.sum().item(), norm.sum().item()),
        standard_error=_standard_error(by_draw),
        noise=float(noise),
        draws=draws,
    )


def _noise(rows: Tensor, deviation: float, generator: torch.Generator) -> Tensor:
    """Return one draw for all samples, (1, ...)."""
    if deviation == 0:
        return rows.new_zeros(())
    drawn = torch.randn(rows.shape[1:], generator=generator, device=generator.device, dtype=rows.dtype)
    return deviation * drawn.to(rows.device)[None]


def _distances(
    model: nn.Module, other: nn.Module, points: Tensor, target: Tensor, of: ClassValue, first: int
) -> tuple[Tensor, Tensor]:
    """Return (B,) squared distances of the gradients, and (B,) squared lengths of the first."""
    own, theirs = (Gradient(of).maps(network, points, target).detach() for network in (model, other))
    own, theirs = own.flatten(1).double().cpu(), theirs.flatten(1).double().cpu()
    distances = (own - theirs).square().sum(dim=1)
    if not (finite := distances.isfinite()).all():
        raise ValueError(
            f"the gradient at sample {first + int((~finite).nonzero()[0])} is not finite; look at its input"
        )
    return distances, own.square().sum(dim=1)


def _ratio(gap: float, norm: float) -> float:
    if norm > 0:
        return gap / norm
    return 0.0 if gap == 0 else math.inf


def _standard_error(by_draw: Tensor) -> float:
    draws, samples = by_draw.shape
    if samples == 1:
        return math.inf
    variance = by_draw.mean(dim=0).var() / samples
    if draws > 1:
        variance = variance + by_draw.mean(dim=1).var() / draws
    return variance.sqrt().item()
