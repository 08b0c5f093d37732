"""Belief matching: the network's outputs are the counts of a Dirichlet belief, matched to a posterior."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, TargetBuilder, method
from trueline.supervise._one_hot import one_hot


@method(
    Reference(
        "Taejong Joo, Uijung Chung, Min-Gwan Seo",
        "Being Bayesian about Categorical Probability",
        "ICML",
        2020,
        arxiv="2002.07965",
    ),
    cost="log-gamma and digamma of B·C values in float64",
)
class BeliefMatching(TargetBuilder):
    """Fit Dirichlet counts ``alpha = exp(logits)`` by the evidence lower bound of the given label.

    With ``a0 = sum(alpha)`` and the prior Dir(prior, ..., prior)::

        loss = coefficient · KL(Dir(alpha) || Dir(prior)) - (digamma(alpha_label) - digamma(a0))

    The posterior mean is ``softmax(logits)`` as usual. The minimiser of one sample's loss is ``alpha = prior +
    one_hot / coefficient``, so confidence is bounded by ``(prior + 1 / coefficient) / (C · prior + 1 /
    coefficient)``. Published coefficients: 0.01 (CIFAR-10), 0.003 to 0.001 (CIFAR-100), 1e-4 (ImageNet). Losses
    are not comparable with cross-entropies. The KL's constant is kept, so it is 0 at the prior.

    Args:
        num_classes: C.
        coefficient: weight of the KL, above 0.
        prior: the prior's count of each class, above 0.

    Raises:
        ValueError: if an option is not above 0.

    Example:
        >>> best = torch.tensor([[101.0, 1.0, 1.0]]).log()  # prior 1 everywhere, 1 / 0.01 on the label
        >>> objective = BeliefMatching(num_classes=3, coefficient=0.01)
        >>> label, index = torch.tensor([0]), torch.tensor([0])
        >>> bool(objective.loss(best, label, index) < objective.loss(best + 0.1, label, index))
        True
    """

    def __init__(self, num_classes: int, *, coefficient: float = 0.01, prior: float = 1.0) -> None:
        super().__init__()
        for name, value in (("coefficient", coefficient), ("prior", prior)):
            if value <= 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        self.num_classes = num_classes
        self.coefficient = coefficient
        self.prior = prior

    def targets(self, index: Int64[Tensor, " B"], labels: Int64[Tensor, " B"]) -> Float[Tensor, "B C"]:
        """Return the mean of the minimising Dirichlet; see :meth:`TargetBuilder.targets`."""
        del index
        counts = one_hot(labels, self.num_classes) / self.coefficient + self.prior
        return counts / counts.sum(dim=1, keepdim=True)

    def loss(
        self, logits: Float[Tensor, "B C"], labels: Int64[Tensor, " B"], index: Int64[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the negative evidence bound; see :meth:`TargetBuilder.loss`."""
        del index
        # Log-gammas of large counts cancel: float32 keeps no digit of the KL beyond counts of about 1e5.
        alpha = logits.double().exp()
        total = alpha.sum(dim=1)
        log_mean = alpha.digamma() - total.digamma()[:, None]
        prior = torch.full((), self.prior, dtype=torch.float64, device=logits.device)
        kl = (
            total.lgamma()
            - alpha.lgamma().sum(dim=1)
            - (self.num_classes * prior).lgamma()
            + self.num_classes * prior.lgamma()
            + ((alpha - prior) * log_mean).sum(dim=1)
        )
        log_likelihood = log_mean.gather(1, labels[:, None]).squeeze(1)
        return (self.coefficient * kl - log_likelihood).float()
