"""Linear probing, as Hu, Gamba and Balestriero (2025) compare settings of a network: one head each, fitted together."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Reference, check_labels, method
from trueline.measure import accuracy

_HALF = (torch.float16, torch.bfloat16)
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8  # of Adam, as its authors set them


@dataclass(frozen=True, eq=False)
class LinearHeads:
    """K linear classifiers, each as it was after its best epoch.

    Args:
        weight: (K, C, D) weights.
        bias: (K, C) biases.
        epoch: (K,) the epoch that was kept, counted from 0: the column of ``curve``.
        val_score: (K,) its validation score, in units of the metric.
        curve: (K, epochs) validation scores after every epoch, float64.
    """

    weight: Float[Tensor, "K C D"]
    bias: Float[Tensor, "K C"]
    epoch: Int64[Tensor, " K"]
    val_score: Float[Tensor, " K"]
    curve: Float[Tensor, "K epochs"]

    def logits(self, features: Float[Tensor, "K N D"]) -> Float[Tensor, "K N C"]:
        """Return the unnormalised scores of every head on its own features.

        Args:
            features: (K, N, D) features of the same N samples under the K settings, in the order of the fit.

        Returns:
            (K, N, C) logits, in the dtype of the weights.

        Raises:
            ValueError: if K or D are not those of the heads.
        """
        heads, _, dim = self.weight.shape
        if features.ndim != 3 or features.shape[::2] != (heads, dim):
            raise ValueError(f"features must have shape ({heads}, N, {dim}), got {tuple(features.shape)}")
        return torch.baddbmm(self.bias[:, None], features.to(self.weight.dtype), self.weight.mT)

    def module(self, k: int) -> nn.Linear:
        """Return head k as a linear layer with a copy of its weights.

        Args:
            k: number of the head, in [0, K).

        Returns:
            The layer, on the device and in the dtype of the fit.

        Raises:
            IndexError: if there is no such head.
        """
        weight, bias = self.weight[k].clone(), self.bias[k].clone()
        layer = nn.Linear(weight.shape[1], weight.shape[0], device="meta")  # draws nothing
        layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        return layer


@method(
    Reference(
        authors="Guillaume Alain, Yoshua Bengio",
        title="Understanding Intermediate Layers Using Linear Classifier Probes",
        venue="ICLR Workshops",
        year=2017,
        arxiv="1610.01644",
    ),
    Reference(
        authors="Leyang Hu, Matteo Gamba, Randall Balestriero",
        title="Curvature Tuning: Provable Training-free Model Steering From a Single Parameter",
        venue="NeurIPS",
        year=2025,
        arxiv="2502.07783",
    ),
    Reference(
        authors="Diederik P. Kingma, Jimmy Ba",
        title="Adam: A Method for Stochastic Optimization",
        venue="ICLR",
        year=2015,
        arxiv="1412.6980",
    ),
    cost="per step 4·K·B·C·D multiply-adds and a few passes over the K·C·D weights; none through the network",
)
def fit_linear_heads(
    features: Float[Tensor, "K N D"],
    labels: Int64[Tensor, " N"],
    *,
    val_features: Float[Tensor, "K M D"],
    val_labels: Int64[Tensor, " M"],
    num_classes: int,
    epochs: int = 20,
    batch_size: int = 32,
    learning_rate: float = 1e-3,
    warmup_epochs: int = 1,
    drop_epoch: int = 10,
    drop: float = 0.1,
    weight_decay: float = 0.0,
    metric: Callable[..., Tensor | float] = accuracy,
    generator: torch.Generator | None = None,
) -> LinearHeads:
    """Fit one linear classifier to each of K feature sets of the same samples, all at once.

    Head k minimises the mean of ``-log softmax(W_k·x + b_k)[y]`` by Adam over shuffled batches. Of S steps an epoch,
    step s has the rate ``learning_rate·min(1, s/(warmup_epochs·S))``, times ``drop`` from epoch ``drop_epoch`` on: a
    warm-up begins with a step that moves nothing. The epoch with the best validation score is kept for each head by
    itself; of equal ones the earliest. Start and order of the samples are the same for all heads, and no head sees
    another: each is what a fit by itself would give. Features are taken as they are; scale them alike for all if they
    need it.

    Args:
        features: (K, N, D) features of N samples under K settings, finite. Half precision is trained in float32.
        labels: (N,) class numbers, int64.
        val_features: (K, M, D) features of other samples under the same settings.
        val_labels: (M,) their class numbers.
        num_classes: C, at least 2; a class may have no sample.
        epochs: passes over the samples, at least 1.
        batch_size: samples a step, at least 1; the last step of an epoch takes what is left.
        learning_rate: above 0.
        warmup_epochs: epochs over which the rate rises from zero, at least 0.
        drop_epoch: first epoch with the lower rate, counted from 0; from ``epochs`` on there is none.
        drop: factor of the lower rate, in (0, 1].
        weight_decay: times the weights and biases, added to their gradient; at least 0.
        metric: score of validation predictions, higher is better: ``metric(labels, *, logits)`` returns one number, or
            one per sample to be averaged.
        generator: draws the start, as for ``nn.Linear``, and the order; None for one seeded with 0.

    Returns:
        The heads, on the device of the features.

    Raises:
        ValueError: if a shape, value or option is not what is described above, a fit diverges, or the metric returns
            something that is not finite.
        TypeError: if a dtype is wrong.

    Cost:
        Features are gathered batch by batch and never copied as a whole. The heads share what it takes to start the
        operations of a step, which for a small D is most of its time.

    Example:
        >>> features = torch.tensor([[[-1.0], [1.0]], [[2.0], [-2.0]]])  # two settings of two samples
        >>> labels = torch.tensor([0, 1])
        >>> heads = fit_linear_heads(
        ...     features, labels, val_features=features, val_labels=labels, num_classes=2, learning_rate=0.1
        ... )
        >>> heads.val_score.tolist(), heads.logits(features).argmax(dim=2).tolist()
        ([1.0, 1.0], [[0, 1], [0, 1]])
    """
    _check_data(features, labels, val_features, val_labels, num_classes)
    _check_options(epochs, batch_size, learning_rate, warmup_epochs, drop_epoch, drop, weight_decay)
    features, val_features = features.detach(), val_features.detach()
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    weight, bias = _start(features, num_classes, generator)
    adam = _Adam((weight, bias))
    samples = features.shape[1]
    steps = -(-samples // batch_size)
    curve = torch.empty(len(features), epochs, dtype=torch.float64, device=features.device)
    best = torch.full_like(curve[:, 0], -math.inf)
    best_epoch = torch.zeros_like(best, dtype=torch.int64)
    best_weight, best_bias = torch.empty_like(weight), torch.empty_like(bias)
    for epoch in range(epochs):
        order = torch.randperm(samples, generator=generator, device=generator.device).to(features.device)
        peak = learning_rate * (drop if epoch >= drop_epoch else 1.0)
        for step, batch in enumerate(torch.split(order, batch_size), start=epoch * steps):
            rate = peak * min(1.0, step / (warmup_epochs * steps)) if warmup_epochs else peak
            x = features.index_select(1, batch).to(weight.dtype)
            adam.step(_gradients(x, labels[batch], weight, bias), rate, weight_decay)
        curve[:, epoch] = _scores(val_features, val_labels, weight, bias, metric, epoch)
        better = curve[:, epoch] > best
        best[better], best_epoch[better] = curve[better, epoch], epoch
        best_weight[better], best_bias[better] = weight[better], bias[better]
    return LinearHeads(best_weight, best_bias, best_epoch, best, curve)


class _Adam:
    """Adam by Kingma and Ba on gradients that are handed over, with the rate of each step."""

    def __init__(self, parameters: tuple[Tensor, ...]) -> None:
        self._state = [(tensor, torch.zeros_like(tensor), torch.zeros_like(tensor)) for tensor in parameters]
        self._steps = 0

    def step(self, gradients: tuple[Tensor, ...], rate: float, weight_decay: float) -> None:
        self._steps += 1
        first, second = 1 - _BETA_1**self._steps, math.sqrt(1 - _BETA_2**self._steps)
        for (tensor, mean, square), gradient in zip(self._state, gradients, strict=True):
            if weight_decay:
                gradient.add_(tensor, alpha=weight_decay)
            mean.lerp_(gradient, 1 - _BETA_1)
            square.mul_(_BETA_2).addcmul_(gradient, gradient, value=1 - _BETA_2)
            tensor.addcdiv_(mean, square.sqrt().div_(second).add_(_EPSILON), value=-rate / first)


def _gradients(x: Tensor, labels: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient of each head's mean loss over a batch in its weight and bias."""
    # Classes before samples: both products then run on contiguous matrices, which is faster.
    excess = torch.baddbmm(bias[:, :, None], weight, x.mT).softmax(dim=1)
    excess[:, labels, torch.arange(len(labels), device=labels.device)] -= 1
    excess /= len(labels)
    return torch.bmm(excess, x), excess.sum(dim=2)


def _start(features: Tensor, num_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one linear layer as PyTorch does, and give each head a copy."""
    heads, _, dim = features.shape
    kind = torch.float32 if features.dtype in _HALF else features.dtype
    weight = torch.empty(num_classes, dim, dtype=kind, device=generator.device)
    bias = torch.empty(num_classes, dtype=kind, device=generator.device)
    nn.init.kaiming_uniform_(weight, a=math.sqrt(5), generator=generator)
    bias.uniform_(-1 / math.sqrt(dim), 1 / math.sqrt(dim), generator=generator)
    return weight.to(features.device).repeat(heads, 1, 1), bias.to(features.device).repeat(heads, 1)


def _scores(
    features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, metric: Callable[..., Tensor | float], epoch: int
) -> Tensor:
    """Return the validation score of each head; one head at a time, since (K, M, C) logits can be many."""
    scores = []
    for k, values in enumerate(features):
        logits = torch.addmm(bias[k], values.to(weight.dtype), weight[k].T)
        if not logits.sum(dtype=torch.float64).isfinite():
            raise ValueError(f"head {k} diverged in epoch {epoch}; lower learning_rate, or scale the features")
        score = torch.as_tensor(metric(labels, logits=logits), dtype=torch.float64).mean()
        if not score.isfinite():
            raise ValueError(f"metric must return finite numbers, got {score.item()} for head {k} in epoch {epoch}")
        scores.append(score.to(features.device))
    return torch.stack(scores)


def _check_data(features: Tensor, labels: Tensor, val_features: Tensor, val_labels: Tensor, num_classes: int) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    for name, values, truth in (("features", features, labels), ("val_features", val_features, val_labels)):
        if not values.is_floating_point():
            raise TypeError(f"{name} must be floating point, got {values.dtype}; convert with {name}.float()")
        if values.ndim != 3 or values.numel() == 0:
            raise ValueError(
                f"{name} must have shape (K, samples, D), none of them 0, got {tuple(values.shape)}; "
                f"one feature set is {name}[None]"
            )
        if not all(bool(part.isfinite().all()) for part in values):
            raise ValueError(f"{name} must be finite; remove the samples with NaN or infinite features")
        check_labels(truth, values.shape[1], num_classes)
    if features.shape[::2] != val_features.shape[::2]:
        raise ValueError(
            "features and val_features must agree in K and D, got shapes "
            f"{tuple(features.shape)} and {tuple(val_features.shape)}"
        )


def _check_options(
    epochs: int,
    batch_size: int,
    learning_rate: float,
    warmup_epochs: int,
    drop_epoch: int,
    drop: float,
    weight_decay: float,
) -> None:
    for name, value, least in (
        ("epochs", epochs, 1),
        ("batch_size", batch_size, 1),
        ("warmup_epochs", warmup_epochs, 0),
        ("drop_epoch", drop_epoch, 0),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    if not 0 < learning_rate < math.inf:
        raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate}")
    if not 0 < drop <= 1:
        raise ValueError(f"drop must lie in (0, 1], got {drop}")
    if not 0 <= weight_decay < math.inf:
        raise ValueError(f"weight_decay must be at least 0 and finite, got {weight_decay}")
