"""Curvature of mini-batch losses along their own gradients, by Andreyev and Beneventano (2024)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trueline.contracts import Record, Reference, default_generator, distribution_chart, method
from trueline.probe._loss_hessian import LossHessian

_FEWEST = 10  # batches before their spread is trusted


@dataclass(frozen=True, eq=False)
class BatchSharpness(Record):
    """What K batches say.

    Args:
        quotients: (K,) curvature of the loss of each batch along its own gradient, ``g'Hg / ‖g‖²``; 0 where the
            gradient is zero.
        sharpness: their mean, the batch sharpness.
        standard_error: of the mean; infinite for one batch.
        of_means: ``mean(g'Hg) / mean(‖g‖²)``, which large gradients dominate; 0 where all gradients are zero.
        batch_size: samples in a batch.
    """

    quotients: Float[Tensor, " K"]
    sharpness: float
    standard_error: float
    of_means: float
    batch_size: int

    units: ClassVar[Mapping[str, str]] = {
        "quotients": "unit of the loss / unit of the weights squared",
        "sharpness": "unit of the loss / unit of the weights squared",
        "standard_error": "unit of the loss / unit of the weights squared",
        "of_means": "unit of the loss / unit of the weights squared",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        lines = [
            f"batch sharpness {self.sharpness:.4g} (standard error {self.standard_error:.2g}) over "
            f"{len(self.quotients)} batches of {self.batch_size}; quotient of the means {self.of_means:.4g}"
        ]
        if self.sharpness > 0:
            lines.append(f"2/η equals it at a step size of {2 / self.sharpness:.4g}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of batches with at most a given curvature along their gradient.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        title = f"curvature along the gradient of a batch of {self.batch_size}"
        return distribution_chart(self.quotients, title, mean=self.sharpness, purpose="BatchSharpness.plot()")


@method(
    Reference(
        authors="Arseniy Andreyev, Pierfrancesco Beneventano",
        title="Edge of Stochastic Stability: Revisiting the Edge of Stability for SGD",
        venue="arXiv",
        year=2024,
        arxiv="2412.20553",
    ),
    cost="about two gradients for each batch",
)
def batch_sharpness(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Shaped[Tensor, "N *target"],
    *,
    batch_size: int,
    batches: int = 500,
    relative_error: float | None = 0.005,
    loss: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy",
    parameters: Sequence[str] | None = None,
    generator: torch.Generator | None = None,
) -> BatchSharpness:
    """Return the mean over batches of the curvature of the batch's loss along its own gradient.

    ``E_b[ g_b' H_b g_b / ‖g_b‖² ]`` with the gradient and Hessian of the mean loss of a batch drawn without
    replacement. For training with batches of that size by stochastic gradient descent with step size η, it is this
    number, and not the largest eigenvalue of the full Hessian, that is reported to settle at 2/η. It needs no minimum
    that fits every sample. It is at most the mean of the batches' largest eigenvalues.

    Args:
        model: any module that can be differentiated twice; run in evaluation mode and left as found.
        inputs: (N, ...) training samples, floating point, on the model's device.
        labels: (N,) class numbers, int64, or what the loss takes.
        batch_size: samples in a batch, at most N: that of the training.
        batches: most batches, at least 1.
        relative_error: stop once the standard error is at most this share of the mean, but not before 10 batches; None
            to use all.
        loss: ``"cross_entropy"``, ``"squared"`` or a function that returns one value per sample.
        parameters: names of parameters or modules; None for all with ``requires_grad``.
        generator: draws the batches; None for one seeded with 0.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if an argument is out of range, logits or products are not finite, the loss does not depend on
            the weights, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> inputs = torch.tensor([[3.0, 4.0]])
        >>> model = nn.Linear(2, 1, bias=False)
        >>> record = batch_sharpness(model, inputs, torch.ones(1, 1), batch_size=1, loss="squared")
        >>> round(record.sharpness, 4)  # with a single sample: the squared length of the input
        25.0
    """
    if not 1 <= batch_size <= len(inputs):
        raise ValueError(f"batch_size must be between 1 and the {len(inputs)} samples, got {batch_size}")
    if batches < 1:
        raise ValueError(f"batches must be at least 1, got {batches}")
    if relative_error is not None and not relative_error > 0:
        raise ValueError(f"relative_error must be above 0, or None to use all batches, got {relative_error}")
    generator = default_generator(generator)
    found: list[tuple[float, float]] = []
    for _ in range(batches):
        places = torch.randperm(len(inputs), generator=generator, device=generator.device)[:batch_size]
        places = places.sort().values.to(inputs.device)
        hessian = LossHessian(model, inputs[places], labels[places], loss=loss, parameters=parameters)
        gradient = hessian.gradient
        assert gradient is not None
        curved = hessian.matmat(gradient[:, None]).squeeze(1)
        found.append((float(gradient @ curved), float(gradient @ gradient)))
        if relative_error is not None and len(found) >= _FEWEST and _settled(found, relative_error):
            break
    curved_, squared = torch.tensor(found, dtype=torch.float64).T
    if not curved_.isfinite().all():
        raise ValueError("the derivatives of the loss are not finite; look at what the model divides by")
    quotients = _quotients(curved_, squared)
    return BatchSharpness(
        quotients=quotients,
        sharpness=quotients.mean().item(),
        standard_error=_standard_error(quotients),
        of_means=(curved_.sum() / squared.sum()).item() if squared.sum() > 0 else 0.0,
        batch_size=batch_size,
    )


def _settled(found: list[tuple[float, float]], relative_error: float) -> bool:
    quotients = _quotients(*torch.tensor(found, dtype=torch.float64).T)
    return _standard_error(quotients) <= relative_error * abs(quotients.mean().item())


def _quotients(curved: Tensor, squared: Tensor) -> Tensor:
    return torch.where(squared > 0, curved / torch.where(squared > 0, squared, 1), 0)


def _standard_error(values: Tensor) -> float:
    return float(values.std() / len(values) ** 0.5) if len(values) > 1 else float("inf")
