"""The standard AutoAttack of Croce and Hein (2020), run by its authors' package where that is installed."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import import_optional, method
from trueline.robustness._apgd import REFERENCE
from trueline.robustness._ball import Norm
from trueline.robustness._robust_accuracy import robust_accuracy
from trueline.robustness._robustness_record import RobustAccuracy

_STANDARD = ("apgd-ce", "apgd-t", "fab-t", "square")
_NORMS = {"linf": "Linf", "l2": "L2"}


@method(REFERENCE, cost="about 7,900 forward and 1,900 backward passes for a sample that stays right")
def autoattack(
    model: nn.Module,
    inputs: Float[Tensor, "N C H W"],
    labels: Int64[Tensor, " N"],
    *,
    norm: Norm = "linf",
    radius: float,
    batch_size: int = 128,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> RobustAccuracy:
    """Return the accuracy that is left by the ``autoattack`` package, attack by attack, in our own record.

    Its standard version: Auto-PGD on the cross-entropy, targeted Auto-PGD, targeted FAB, and the Square Attack with
    5,000 queries. Each is run by the package on the samples that those before it left, and what it returns is moved
    into the ball where rounding left it outside, and classified anew. Use it for numbers to be compared with published
    ones; :func:`robust_accuracy` with its own attacks needs no package.

    Args:
        model: from images in [0, 1] to logits (B, C), with its normalisation inside (``models.Normalized``).
        inputs: (N, C, H, W) images in [0, 1], N at least 1.
        labels: (N,) class numbers, int64.
        norm: ``"linf"`` or ``"l2"``.
        radius: largest change in the norm, in units of the inputs.
        batch_size: samples attacked at once, at least 1.
        seed: of the package's random draws.
        progress: as for :func:`robust_accuracy`.

    Returns:
        As :func:`robust_accuracy`, for the attacks ``"apgd-ce"``, ``"apgd-t"``, ``"fab-t"`` and ``"square"``.

    Raises:
        ImportError: if the package is not installed.
        ValueError: as :func:`robust_accuracy`, and for fewer than four classes, which its losses cannot take.
        TypeError: as :func:`robust_accuracy`.

    Example:
        >>> from trueline.models import Normalized
        >>> result = autoattack(Normalized(model, mean, std), images, labels, radius=8 / 255)  # doctest: +SKIP
    """
    try:
        package = import_optional("autoattack", extra="full", purpose="autoattack()")
    except ImportError as error:
        raise ImportError(
            "autoattack() needs the authors' package; install it with: "
            "pip install git+https://github.com/fra31/auto-attack"
        ) from error
    attacks = {name: partial(_attack, package, name, seed) for name in _STANDARD}
    return robust_accuracy(
        model, inputs, labels, norm=norm, radius=radius, attacks=attacks, batch_size=batch_size, progress=progress
    )


def _attack(
    package: Any,
    name: str,
    seed: int,
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    norm: Norm,
    radius: float,
    generator: torch.Generator,
) -> Tensor:
    """Run one of the package's attacks; it seeds itself, so the generator is not used."""
    del generator
    with torch.no_grad():
        classes = model(inputs[:1]).shape[1]
    if classes < 4:
        raise ValueError(f"the losses of the autoattack package need at least 4 classes, got {classes}")
    suite = package.AutoAttack(
        model,
        norm=_NORMS[norm],
        eps=radius,
        seed=seed,
        verbose=False,
        version="standard",
        device=inputs.device,
    )
    suite.attacks_to_run = [name]
    for part in (suite.apgd_targeted, suite.fab):
        part.n_target_classes = min(part.n_target_classes, classes - 1)
    found: Tensor = suite.run_standard_evaluation(inputs, labels, bs=len(inputs))
    return found
