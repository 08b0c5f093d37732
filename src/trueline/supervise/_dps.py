"""Deep Probabilistic Supervision: a Dirichlet belief about each label, updated by the network's own predictions."""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._soft_cross_entropy import soft_cross_entropy
from trueline.supervise._store import TargetStore


@method(
    Reference(
        "Anton Adelöw, Matteo Gamba, Atsuto Maki",
        "Deep Probabilistic Supervision for Image Classification",
        "arXiv",
        2026,
        arxiv="2512.24162",
    ),
    cost="one gather, one scatter and a length-C running mean per sample and step; N·C·4 bytes",
)
class DPS(TargetBuilder):
    """Train towards the mean of a Dirichlet belief that starts at the given label and learns from the network.

    Belief of sample i, counted in its visits t, for prior counts ``c`` at the label and ``eps`` elsewhere::

        alpha_t  = gamma · alpha_{t-1} + softmax(logits / evidence_temperature)
        target_t = alpha_t / S_t,      S_t = gamma · S_{t-1} + 1,      S_0 = c + (C - 1) · eps

    which is a running mean with weight ``1 / S_t``. The given label's weight in the target is
    ``gamma^t · S_0 / S_t``; it is one half at ``t = label_half_life``, and observations fade over ``window =
    1 / (1 - gamma)`` visits. Give these two, or ``c`` and ``gamma``.

    The published description leaves open whether the loss sees the belief before or after the step's own
    prediction enters it. The gradients differ by the factor ``gamma · S / (gamma · S + 1)`` alone; ``"after"``
    (loss first) is our default. Warm-up and evidence temperature are ours too: without them a network that
    learns slowly averages its first, flat predictions into its targets and ends under-confident.

    Args:
        labels: (N,) the given labels of the training set.
        num_classes: C.
        label_half_life: visits after which the given label has lost half its weight; shorter for noisier labels.
            10 when neither pair is given.
        window: visits over which evidence is remembered, above 1; ``inf`` forgets nothing. 10 by default.
        c: prior count of the given label, above ``eps``; the alternative to ``label_half_life``.
        gamma: factor of forgetting in [0, 1]; the alternative to ``window``.
        eps: prior count of each other class, above 0.
        order: ``"after"``: loss against the belief so far, then update; ``"before"``: the step's own prediction,
            without gradient, enters the belief first.
        warmup_epochs: epochs (calls of ``end_epoch``) during which beliefs stay at the prior.
        evidence_temperature: divides the logits of the evidence; below 1 sharpens it.
        store_dtype: ``"float32"`` or ``"float16"``, see :class:`TargetStore`.
        store_on_cpu: keep the beliefs in host memory.

    Raises:
        ValueError: if an option is out of range, or the two parametrisations are mixed.

    Example:
        >>> objective = DPS(torch.tensor([0, 1, 1]), num_classes=2, label_half_life=5)
        >>> index, labels = torch.tensor([0, 2]), torch.tensor([0, 1])
        >>> logits = torch.zeros(2, 2, requires_grad=True)
        >>> objective.loss(logits, labels, index).mean().backward()
        >>> objective.update(index, logits)
        >>> objective.targets(index, labels)[0]
        tensor([0.9308, 0.0692])
    """

    def __init__(
        self,
        labels: Int64[Tensor, " N"],
        num_classes: int,
        *,
        label_half_life: float | None = None,
        window: float | None = None,
        c: float | None = None,
        gamma: float | None = None,
        eps: float = 1e-3,
        order: Literal["after", "before"] = "after",
        warmup_epochs: int = 0,
        evidence_temperature: float = 1.0,
        store_dtype: Literal["float32", "float16"] = "float32",
        store_on_cpu: bool = False,
    ) -> None:
        super().__init__()
        if eps <= 0:
            raise ValueError(f"eps must be above 0, so that no class is ruled out for ever, got {eps}")
        if order not in ("after", "before"):
            raise ValueError(f"order must be 'after' or 'before', got {order!r}")
        if warmup_epochs < 0:
            raise ValueError(f"warmup_epochs must be at least 0, got {warmup_epochs}")
        if evidence_temperature <= 0:
            raise ValueError(f"evidence_temperature must be above 0, got {evidence_temperature}")
        self.c, self.gamma = _prior(num_classes, eps, label_half_life, window, c, gamma)
        self.prior_total = self.c + (num_classes - 1) * eps
        if order == "before" and self.gamma == 0:
            raise ValueError(
                "gamma = 0 with order='before' makes the target the prediction itself, which has no gradient"
            )
        self.order = order
        self.warmup_epochs = warmup_epochs
        self.evidence_temperature = evidence_temperature
        self.store = TargetStore(
            labels,
            num_classes,
            label_mass=self.c / self.prior_total,
            other_mass=eps / self.prior_total,
            dtype=store_dtype,
            keep_on_cpu=store_on_cpu,
        )

    @property
    def label_half_life(self) -> float:
        """Visits after which the given label holds half the weight of the target; infinite never, 0 for gamma = 0."""
        if self.gamma == 1:
            return self.prior_total
        if self.gamma == 0:
            return 0.0
        return math.log1p((1 - self.gamma) * self.prior_total) / -math.log(self.gamma)

    def total(self, visits: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return S_t, the total count of a belief after ``visits`` observations, in closed form and float64."""
        t = visits.double()
        if self.gamma == 1:
            return self.prior_total + t
        if self.gamma == 0:
            return torch.where(t == 0, torch.full_like(t, self.prior_total), torch.ones_like(t))
        fade = t * math.log(self.gamma)
        return self.prior_total * fade.exp() - fade.expm1() / (1 - self.gamma)

    def label_weight(self, visits: Int64[Tensor, " B"]) -> Float[Tensor, " B"]:
        """Return the weight of the given label in the target after ``visits`` observations, in [0, 1] and float64."""
        return self.gamma ** visits.double() * self.prior_total / self.total(visits)

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the posterior means of the beliefs; see :meth:`TargetBuilder.targets`."""
        self.store.check_labels(index, labels)
        rows = self.store.read(index)
        return rows / rows.sum(dim=1, keepdim=True)  # half-precision rows miss one by up to C · 5e-4

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the cross-entropy against the posterior mean; see :meth:`TargetBuilder.loss`."""
        targets = self.targets(index, labels)
        if self.order == "before" and not self._warming_up():
            weight = self._weight(self.store.count(index)).to(targets)[:, None]
            targets = targets + weight * (self._evidence(logits) - targets)
        return soft_cross_entropy(logits, targets)

    def update(self, index: Int64[Tensor, " B"], logits: Float[Tensor, "B C"]) -> None:
        """Add the predictions to the beliefs as evidence; see :meth:`TargetBuilder.update`."""
        if not self._warming_up():
            self.store.observe(index, self._evidence(logits), self._weight)

    def end_epoch(self) -> None:
        """Count the epoch, which ends the warm-up in time, and raise what an accelerator put off."""
        super().end_epoch()
        self.store.raise_fault()

    def monitors(self) -> dict[str, float]:
        """Return how far the beliefs have moved, each a mean over the training set.

        ``left_label_share``: share of samples whose most believed class is not the given label.
        ``label_weight``: weight of the given label in the target.
        ``belief_spread``: root of the total variance of the belief, ``sqrt(sum_j p_j (1 - p_j) / (S + 1))``.
        """
        store, spread = self.store, 0.0
        for part in store.parts():
            rows = store.rows[part].float()
            variance = (rows * (1 - rows)).sum(dim=1) / (self.total(store.visits[part].long()) + 1)
            spread += variance.sqrt().sum().item()
        return {
            "left_label_share": store.left_label_share(),
            "label_weight": self.label_weight(store.visits.long()).mean().item(),
            "belief_spread": spread / len(store.labels),
        }

    def beliefs(self) -> Float[Tensor, "N C"]:
        """Return a CPU copy of all posterior means, float32."""
        return self.store.copy_rows()

    def _weight(self, visits: Tensor) -> Tensor:
        return 1 / self.total(visits + 1)

    def _evidence(self, logits: Tensor) -> Tensor:
        return (logits.detach().float() / self.evidence_temperature).softmax(dim=1)

    def _warming_up(self) -> bool:
        return self.epoch < self.warmup_epochs

    def extra_repr(self) -> str:
        """Show the solved counts beside the handles."""
        return (
            f"c={self.c:.4g}, gamma={self.gamma:.4g}, label_half_life={self.label_half_life:.4g}, order={self.order!r}"
        )


def _prior(
    num_classes: int,
    eps: float,
    label_half_life: float | None,
    window: float | None,
    c: float | None,
    gamma: float | None,
) -> tuple[float, float]:
    if c is not None or gamma is not None:
        if c is None or gamma is None or label_half_life is not None or window is not None:
            raise ValueError(
                "give either label_half_life and window, or both c and gamma; they are two ways to say the same"
            )
        if not 0 <= gamma <= 1:
            raise ValueError(f"gamma must lie in [0, 1], got {gamma}")
        if not eps < c < math.inf:
            raise ValueError(
                f"c must be finite and above eps = {eps}, so that the prior favours the given label, got {c}"
            )
        return c, gamma
    label_half_life = 10.0 if label_half_life is None else label_half_life
    window = 10.0 if window is None else window
    if not window > 1:
        raise ValueError(f"window must be above 1 visit, got {window}; for no memory at all give c and gamma = 0")
    if not 0 < label_half_life < math.inf:
        raise ValueError(f"label_half_life must be above 0 and finite, got {label_half_life}")
    gamma = 1 - 1 / window
    # rho(t) = gamma^t S_0 / S_t = 1/2 solved for S_0
    total = label_half_life if gamma == 1 else math.expm1(-label_half_life * math.log(gamma)) / (1 - gamma)
    c = total - (num_classes - 1) * eps
    if c <= eps:
        raise ValueError(
            f"a label_half_life of {label_half_life} visits leaves the label no more prior weight than eps = {eps} "
            "gives each other class; raise label_half_life or lower eps"
        )
    return c, gamma
