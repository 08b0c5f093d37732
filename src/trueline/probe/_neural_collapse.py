"""Neural collapse: how nearly features have become one point a class, after Papyan, Han and Donoho (2020)."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import Reference, check_labels, check_samples, left_as_found, method, row_blocks, unknown_name
from trueline.probe._features_and_head import check_features, head_rows
from trueline.probe._layer_features import head_name, layer_features
from trueline.probe._neural_collapse_record import NeuralCollapse
from trueline.probe._simplex_fit import simplex_fit

_PAPYAN = Reference(
    authors="Vardan Papyan, X. Y. Han, David L. Donoho",
    title="Prevalence of Neural Collapse During the Terminal Phase of Deep Learning Training",
    venue="Proceedings of the National Academy of Sciences",
    year=2020,
    arxiv="2008.08186",
)
_GALANTI = Reference(
    authors="Tomer Galanti, András György, Marcus Hutter",
    title="On the Role of Neural Collapse in Transfer Learning",
    venue="ICLR",
    year=2022,
    arxiv="2112.15121",
)

_ROUNDING = 1e-13  # of a mean in double precision, relative


@method(_PAPYAN, _GALANTI, cost="two passes over the features, O(N·d·K), and a thin SVD of d×K; no d×d matrix")
def neural_collapse(
    features: Float[Tensor, "N d"],
    labels: Int64[Tensor, " N"],
    *,
    weight: Float[Tensor, "rows d"] | None = None,
    bias: Float[Tensor, " rows"] | None = None,
) -> NeuralCollapse:
    """Return the measures NC1 to NC4 of neural collapse of features, and of the linear head on top of them.

    With class means ``μ_c``, their plain mean ``μ_G = (1/K)·Σ_c μ_c`` (also where classes differ in size),
    ``M = [μ_c - μ_G]``, ``Σ_W = (1/N)·Σ (h - μ_c)(h - μ_c)ᵀ`` and ``Σ_B = (1/K)·M Mᵀ``. NC1 comes from the thin
    singular value decomposition ``M = U S Vᵀ`` as ``Σ_r (u_rᵀ Σ_W u_r)/s_r²`` over the K - 1 directions of M, without
    those whose s_r is rounding. The head's rows are not centred, as published: what is added to all of them leaves
    softmax alone, but moves NC2 of the head and NC3.

    Give the features of training data without augmentation, in evaluation mode.
    Rotating the features (and the head with them) or scaling them changes nothing but the unit of ``distances``.

    Args:
        features: (N, d) floating point, finite, for instance what enters the last linear layer.
        labels: (N,) class numbers, int64. Without a head, K is the largest plus one. Every class needs a sample.
        weight: (K, d) rows of the head, or (1, d) for the log-odds of class 1 of two, which count as the rows -w/2
            and w/2; None for no head.
        bias: (K,) or (1,) of the head; None for zero.

    Returns:
        A record with one value per sample and the measures.

    Raises:
        ValueError: if a shape does not fit, a value is not finite, a class has no sample, there are fewer than two
            classes, or all class means coincide, where nothing is defined.
        TypeError: if a dtype is wrong.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
        >>> record = neural_collapse(features, torch.tensor([0, 0, 1, 1]))
        >>> round(record.nc1_ratio, 6), round(record.means.etf_distance, 6)
        (0.005, 0.0)
    """
    check_features(features, labels, weight, bias)
    features, labels = features.detach(), labels.to(features.device)
    head, offset = head_rows(weight, bias)
    classes = int(labels.max()) + 1 if head is None else len(head)
    check_labels(labels, len(features), classes)
    sizes = torch.bincount(labels, minlength=classes)
    if classes < 2:
        raise ValueError("labels must hold at least two classes, got only 0; one class has nothing to collapse from")
    if (sizes == 0).any():
        missing = (sizes == 0).nonzero().flatten().tolist()
        raise ValueError(f"every class needs a sample, but of {classes} none is of class {missing[:5]}; add samples")
    means = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
    for rows, own in row_blocks(features, labels):
        means += _memberships(own, classes).T @ rows.double()
    means /= sizes[:, None]
    centre = means.mean(dim=0)
    centred = means - centre
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    if values[0] <= _ROUNDING * means.norm(dim=1).max():
        raise ValueError("all class means coincide, so that no measure of collapse is defined; is the layer dead?")
    noise = min(torch.finfo(features.dtype).eps, torch.finfo(torch.float32).eps) * max(centred.shape)
    kept = int((values[: classes - 1] > noise * values[0]).sum())
    values, directions = values[:kept], directions[:kept]
    distances, nearest, predicted = [], [], []
    spread, variances = torch.zeros_like(values), torch.zeros_like(means[:, 0])
    for rows, own in row_blocks(features, labels):
        wide = rows.double()
        deviation = wide - means[own]
        spread += (deviation @ directions.T).square().sum(dim=0)
        distances.append(deviation.square().sum(dim=1))
        variances += _memberships(own, classes).T @ distances[-1]
        nearest.append((centred.square().sum(dim=1) - 2 * (wide - centre) @ centred.T).argmin(dim=1))
        if head is not None:
            predicted.append((wide @ head.T + offset).argmax(dim=1))
    distance, closest = torch.cat(distances), torch.cat(nearest)
    agrees = torch.cat(predicted) == closest if head is not None else None
    return NeuralCollapse(
        distances=distance.cpu(),
        nearest=closest.cpu(),
        agrees=None if agrees is None else agrees.cpu(),
        class_sizes=sizes.cpu(),
        nc1=(spread / len(features) / values.square()).sum().item(),
        nc1_ratio=(distance.mean() / (centred.square().sum() / classes)).item(),
        cdnv=_cdnv(means, variances / sizes),
        means=simplex_fit(centred),
        head=None if head is None else simplex_fit(head),
        nc3=None if head is None else (head / head.norm() - centred / centred.norm()).norm().item(),
        nc4=None if agrees is None else (~agrees).double().mean().item(),
        rank=kept,
        dimension=features.shape[1],
    )


@method(_PAPYAN, _GALANTI, cost="a forward pass; the features of all samples are kept, in the model's precision")
def neural_collapse_of(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    *,
    layer: str | None = None,
    head: str | None = None,
    chunk_size: int | None = None,
) -> NeuralCollapse:
    """Return the measures of neural collapse of a model at samples: :func:`neural_collapse` of its features.

    The features are what enters the head, the linear layer whose untouched output the logits are; it is found by
    watching the first pass. A distance to a class mean depends on the other samples of the class, so samples are to be
    given together.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found.
        inputs: (N, ...) floating point, on the model's device; training data without augmentation.
        labels: (N,) class numbers, int64, with every class at least once.
        layer: name of a module whose flattened output are the features instead; NC3 and NC4 are then left out.
        head: name of the linear layer to take as head where it cannot be found; its output need not be the logits.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        The record of :func:`neural_collapse`.

    Raises:
        ValueError: if the head cannot be found or runs more than once, a name is unknown, or as
            :func:`neural_collapse`.
        TypeError: if the model is no module, or a dtype is wrong.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> neural_collapse_of(model, torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1])).dimension
        8
    """
    if layer is not None and head is not None:
        raise ValueError(f"layer and head exclude each other, got {layer!r} and {head!r}; give one of them")
    check_samples(model, inputs, labels, chunk_size)
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        if layer is not None:
            return neural_collapse(layer_features(model, inputs, labels, {layer: False}, chunk_size)[layer], labels)
        name = head_name(model, inputs[:1]) if head is None else head
        linear = dict(model.named_modules()).get(name)
        if not isinstance(linear, nn.Linear):
            known = [other for other, module in model.named_modules() if isinstance(module, nn.Linear)]
            raise ValueError(unknown_name("linear layer", name, known))
        features = layer_features(model, inputs, labels, {name: True}, chunk_size)[name]
        return neural_collapse(features, labels, weight=linear.weight, bias=linear.bias)


@method(_PAPYAN, _GALANTI, cost="a forward pass; the outputs of all named layers for all samples are kept")
def neural_collapse_by_layer(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    layers: Sequence[str],
    *,
    chunk_size: int | None = None,
) -> dict[str, NeuralCollapse]:
    """Return the measures of neural collapse of the flattened outputs of several layers, from one pass.

    Args:
        model: as in :func:`neural_collapse_of`.
        inputs: likewise.
        labels: likewise.
        layers: names of modules that run once in a forward pass.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.

    Returns:
        For each name a record without a head.

    Raises:
        ValueError: as :func:`neural_collapse_of`.
        TypeError: likewise.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> depth = neural_collapse_by_layer(model, torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1]), ["0", "2"])
        >>> [record.dimension for record in depth.values()]
        [8, 2]
    """
    check_samples(model, inputs, labels, chunk_size)
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        features = layer_features(model, inputs, labels, dict.fromkeys(layers, False), chunk_size)
    return {name: neural_collapse(rows, labels) for name, rows in features.items()}


def _memberships(labels: Tensor, classes: int) -> Tensor:
    """Return one-hot rows, whose products sum by class in the same order on every device, as index_add does not."""
    return F.one_hot(labels, classes).double()


def _cdnv(means: Tensor, variances: Tensor) -> float:
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    apart = (means[first] - means[second]).square().sum(dim=1)
    terms = (variances[first] + variances[second]) / (2 * apart)
    return torch.where(apart > 0, terms, math.inf).mean().item()
