"""What an evaluation under attack found."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from trueline.numerics import Interval, wilson_interval

_MASKING = 0.002  # share of the samples that may escape gradient attacks by chance


@dataclass(frozen=True)
class AttackRow:
    """One attack on the samples that those before it left.

    Args:
        name: of the attack.
        tried: samples it was given.
        broken: how many of them it made the model get wrong.
        accuracy: share of all samples that are right after it, in [0, 1].
        forward_passes: samples that passed forward through the model, its last check included.
        backward_passes: samples that passed backward.
    """

    name: str
    tried: int
    broken: int
    accuracy: float
    forward_passes: int
    backward_passes: int


@dataclass(frozen=True, eq=False)
class RobustAccuracy:
    """Accuracy in the worst case over the attacks, on N samples.

    Args:
        norm: ``"linf"`` or ``"l2"``.
        radius: in units of the inputs.
        clean: (N,) whether each sample is right as it is.
        robust: (N,) whether it is right whatever was tried.
        broken_by: the attack that broke each sample; None for those that stayed right, and those that never were.
        attacks: one row per attack, in their order.
    """

    norm: str
    radius: float
    clean: Bool[Tensor, " N"] = field(repr=False)
    robust: Bool[Tensor, " N"] = field(repr=False)
    broken_by: tuple[str | None, ...] = field(repr=False)
    attacks: tuple[AttackRow, ...]

    @property
    def clean_accuracy(self) -> Interval:
        """Share of samples that are right as they are, with its 95 % Wilson interval."""
        return _share(self.clean)

    @property
    def robust_accuracy(self) -> Interval:
        """Share of samples that are right whatever was tried, with its 95 % Wilson interval."""
        return _share(self.robust)

    @property
    def accuracy(self) -> dict[str, float]:
        """Accuracy after each attack, by name, in their order."""
        return {row.name: row.accuracy for row in self.attacks}

    @property
    def forward_passes(self) -> int:
        """Samples that passed forward through the model, those for the clean accuracy included."""
        return len(self.clean) + sum(row.forward_passes for row in self.attacks)

    @property
    def backward_passes(self) -> int:
        """Samples that passed backward through the model."""
        return sum(row.backward_passes for row in self.attacks)

    @property
    def masking_suspected(self) -> bool:
        """Whether gradients seem to hide weaknesses.

        True if some attack that spent no backward pass broke more than 0.2 % of the N samples although an attack with
        backward passes ran before it; so the order of the attacks matters.
        """
        with_gradient = False
        for row in self.attacks:
            if row.backward_passes:
                with_gradient = True
            elif with_gradient and row.broken > _MASKING * len(self.clean):
                return True
        return False

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists that JSON can hold."""
        return {
            "norm": self.norm,
            "radius": self.radius,
            "samples": len(self.clean),
            "clean_accuracy": asdict(self.clean_accuracy),
            "robust_accuracy": asdict(self.robust_accuracy),
            "attacks": [asdict(row) for row in self.attacks],
            "forward_passes": self.forward_passes,
            "backward_passes": self.backward_passes,
            "masking_suspected": self.masking_suspected,
            "clean": self.clean.tolist(),
            "robust": self.robust.tolist(),
            "broken_by": list(self.broken_by),
        }

    def __str__(self) -> str:
        """A table with one row per attack, and the two accuracies with their intervals."""
        width = max(len("attack"), *(len(row.name) for row in self.attacks))
        lines = [
            f"{self.norm} radius {self.radius:.6g}, {len(self.clean)} samples",
            f"{'attack':<{width}}{'tried':>9}{'broken':>9}{'accuracy':>11}{'forward':>12}{'backward':>12}",
        ]
        lines += [
            f"{row.name:<{width}}{row.tried:9}{row.broken:9}{100 * row.accuracy:9.2f} %"
            f"{row.forward_passes:12}{row.backward_passes:12}"
            for row in self.attacks
        ]
        lines += [_line("clean accuracy", self.clean_accuracy), _line("robust accuracy", self.robust_accuracy)]
        if self.masking_suspected:
            lines.append("an attack without gradients broke what gradient attacks left: gradients may be masked")
        return "\n".join(lines)


def _share(hits: Tensor) -> Interval:
    rate = hits.double().mean()
    low, high = wilson_interval(rate, torch.tensor(float(len(hits)), dtype=torch.float64))
    return Interval(rate.item(), low.item(), high.item())


def _line(name: str, share: Interval) -> str:
    return f"{name} {100 * share.value:.2f} % (95 % interval {100 * share.low:.2f} to {100 * share.high:.2f})"
