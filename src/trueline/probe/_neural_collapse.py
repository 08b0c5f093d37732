"""Neural collapse: how nearly features have become one point a class, after Papyan, Han and Donoho (2020)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import (
    Record,
    Reference,
    check_labels,
    check_predictions,
    distribution_chart,
    left_as_found,
    method,
    row_blocks,
    unknown_name,
)
from trueline.probe._samples import check_samples, chunks, run_logits

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


@dataclass(frozen=True)
class SimplexFit:
    """How far K vectors are from a simplex equiangular tight frame: equal lengths, all cosines -1/(K - 1).

    Args:
        equinorm: standard deviation of the lengths over their mean.
        equiangularity: standard deviation of the cosines of all pairs.
        max_angle: mean of ``|cos + 1/(K - 1)|`` over all pairs.
        etf_distance: ``‖G/‖G‖_F - (I - 11ᵀ/K)/√(K - 1)‖_F`` for the Gram matrix G, from 0 to √2.
    """

    equinorm: float
    equiangularity: float
    max_angle: float
    etf_distance: float


@dataclass(frozen=True, eq=False)
class NeuralCollapse(Record):
    """How nearly the features of N samples have collapsed onto K class means; all numbers are 0 at exact collapse.

    Args:
        distances: squared distance of each sample to the mean of its class.
        nearest: the class whose mean is nearest to each sample, the lowest of those that tie.
        agrees: whether the head predicts that class; None without a head.
        class_sizes: samples of each class; a class of one sample has no spread, which makes NC1 smaller.
        nc1: ``tr(Σ_W Σ_B⁺)/K``, the spread within classes relative to that between them, direction by direction.
        nc1_ratio: ``tr Σ_W / tr Σ_B``, the same over all directions together. The two can move apart.
        cdnv: class-distance normalised variance, the mean over pairs of classes of
            ``(v_c + v_c')/(2·‖μ_c - μ_c'‖²)``; infinite where two means coincide.
        means: NC2, how far the centred class means are from a simplex.
        head: the same of the rows of the head, as they are; None without a head.
        nc3: ``‖Wᵀ/‖W‖_F - M/‖M‖_F‖_F``, from 0 to 2: the head's rows against the centred means; None without a head.
        nc4: share of samples where the head's class is not that of the nearest mean; None without a head.
        rank: directions that the centred means span; K - 1 for a simplex. NC1 leaves the others out.
        dimension: d, entries of a feature.
    """

    distances: Float[Tensor, " N"]
    nearest: Int64[Tensor, " N"]
    agrees: Bool[Tensor, " N"] | None
    class_sizes: Int64[Tensor, " K"]
    nc1: float
    nc1_ratio: float
    cdnv: float
    means: SimplexFit
    head: SimplexFit | None
    nc3: float | None
    nc4: float | None
    rank: int
    dimension: int

    units: ClassVar[Mapping[str, str]] = {
        "distances": "unit of the features squared",
        "nc1": "1",
        "nc1_ratio": "1",
        "cdnv": "1",
        "means": "1",
        "head": "1",
        "nc3": "1",
        "nc4": "share of samples",
    }

    @property
    def etf_floor(self) -> float:
        """The smallest ``etf_distance`` that d dimensions admit: ``√(2 - 2·√(d/(K - 1)))``, 0 from d = K - 1 on."""
        return math.sqrt(2 - 2 * math.sqrt(min(1.0, self.dimension / (len(self.class_sizes) - 1))))

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        classes = len(self.class_sizes)
        lines = [
            f"neural collapse of {len(self.distances)} samples in {classes} classes, {self.dimension} features "
            "(0 is exact collapse):",
            f"spread within classes (NC1) {self.nc1:.4g}, as a ratio of traces {self.nc1_ratio:.4g}, "
            f"per pair of classes (CDNV) {self.cdnv:.4g}",
            f"class means against a simplex (NC2): lengths {self.means.equinorm:.4g}, "
            f"angles {self.means.max_angle:.4g}, distance {self.means.etf_distance:.4g} of at most 1.414",
        ]
        if self.head is not None:
            lines.append(
                f"head against the means (NC3) {self.nc3:.4g}; {100 * (self.nc4 or 0):.3g} % of the samples get "
                "another class from the head than from the nearest mean (NC4)"
            )
        if self.dimension < classes - 1:
            lines.append(
                f"{self.dimension} dimensions cannot hold a simplex of {classes} classes, which takes {classes - 1}: "
                f"the distance is at least {self.etf_floor:.4g}"
            )
        elif self.rank < classes - 1:
            lines.append(
                f"the class means span {self.rank} of the {classes - 1} directions of a simplex; NC1 sees only those"
            )
        if single := int((self.class_sizes == 1).sum()):
            lines.append(f"{single} classes have one sample and so no spread: NC1 is too small")
        if self.class_sizes.max() > self.class_sizes.min():
            lines.append(
                f"classes have {int(self.class_sizes.min())} to {int(self.class_sizes.max())} samples; the global mean "
                "is that of the class means, each counted once"
            )
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of samples within a given squared distance of their class mean.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        return distribution_chart(
            self.distances,
            "squared distance to the class mean",
            mean=self.distances.mean().item(),
            purpose="NeuralCollapse.plot()",
        )


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
    _check_features(features, labels, weight, bias)
    features, labels = features.detach(), labels.to(features.device)
    head, offset = _two_rows(weight, bias)
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
        means=_simplex_fit(centred),
        head=None if head is None else _simplex_fit(head),
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
            return neural_collapse(_collect(model, inputs, labels, {layer: False}, chunk_size)[layer], labels)
        name = _find_head(model, inputs[:1]) if head is None else head
        linear = dict(model.named_modules()).get(name)
        if not isinstance(linear, nn.Linear):
            known = [other for other, module in model.named_modules() if isinstance(module, nn.Linear)]
            raise ValueError(unknown_name("linear layer", name, known))
        features = _collect(model, inputs, labels, {name: True}, chunk_size)[name]
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
        features = _collect(model, inputs, labels, dict.fromkeys(layers, False), chunk_size)
    return {name: neural_collapse(rows, labels) for name, rows in features.items()}


def _check_features(features: Tensor, labels: Tensor, weight: Tensor | None, bias: Tensor | None) -> None:
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point, got {features.dtype}; convert with features.float()")
    if features.ndim != 2 or features.numel() == 0:
        raise ValueError(f"features must have shape (N, d), N and d at least 1, got {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"labels must have shape ({len(features)},) to match features, got {tuple(labels.shape)}")
    if bias is not None and weight is None:
        raise ValueError("bias was given without weight; pass the head's weight too")
    if weight is not None and (weight.ndim != 2 or weight.shape[1] != features.shape[1]):
        raise ValueError(
            f"weight must have shape (K, {features.shape[1]}) to match the features, got {tuple(weight.shape)}; a row "
            "is a class"
        )
    if weight is not None and bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"bias must have shape ({len(weight)},) to match weight, got {tuple(bias.shape)}")
    for name, tensor in {"features": features, "weight": weight, "bias": bias}.items():
        if tensor is not None and not tensor.isfinite().all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
    if weight is not None and not weight.any():
        raise ValueError("weight is zero everywhere, so that the head has no direction; leave it out")


def _two_rows(weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor | None, Tensor | float]:
    """Return the head in double precision, with two rows where one number stands for two classes."""
    if weight is None:
        return None, 0.0
    head = weight.detach().double()
    offset = torch.zeros_like(head[:, 0]) if bias is None else bias.detach().double()
    return (head, offset) if len(head) > 1 else (torch.cat([-head, head]) / 2, torch.cat([-offset, offset]) / 2)


def _memberships(labels: Tensor, classes: int) -> Tensor:
    """Return one-hot rows, whose products sum by class in the same order on every device, as index_add does not."""
    return F.one_hot(labels, classes).double()


def _cdnv(means: Tensor, variances: Tensor) -> float:
    first, second = torch.triu_indices(len(means), len(means), offset=1, device=means.device)
    apart = (means[first] - means[second]).square().sum(dim=1)
    terms = (variances[first] + variances[second]) / (2 * apart)
    return torch.where(apart > 0, terms, math.inf).mean().item()


def _simplex_fit(vectors: Tensor) -> SimplexFit:
    """Compare the rows with a simplex; a row of length zero has cosine 0 with every other."""
    classes = len(vectors)
    lengths = vectors.norm(dim=1)
    unit = vectors / torch.where(lengths > 0, lengths, 1)[:, None]
    first, second = torch.triu_indices(classes, classes, offset=1, device=vectors.device)
    cosines = (unit @ unit.T)[first, second]
    gram = vectors @ vectors.T
    frame = (torch.eye(classes, dtype=gram.dtype, device=gram.device) - 1 / classes) / math.sqrt(classes - 1)
    return SimplexFit(
        equinorm=(lengths.std(correction=0) / lengths.mean()).item(),
        equiangularity=cosines.std(correction=0).item(),
        max_angle=(cosines + 1 / (classes - 1)).abs().mean().item(),
        etf_distance=(gram / gram.norm() - frame).norm().item(),
    )


def _find_head(model: nn.Module, inputs: Tensor) -> str:
    """Return the name of the linear layer whose untouched output the logits are."""
    seen: list[tuple[str, Tensor, int]] = []

    def watch(name: str) -> Any:
        return lambda _, __, output: seen.append((name, output, output._version))

    handles = [
        module.register_forward_hook(watch(name))
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        logits = run_logits(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    # A view, such as squeeze(1) of a single logit, shares memory and version; anything computed does not.
    heads = [
        name
        for name, output, version in seen
        if output.data_ptr() == logits.data_ptr() and output.numel() == logits.numel() and version == logits._version
    ]
    if len(heads) != 1:
        raise ValueError(
            f"the logits of {type(model).__name__} are not the untouched output of one linear layer; name it with "
            "head=, or any other layer with layer="
        )
    return heads[0]


def _collect(
    model: nn.Module, inputs: Tensor, labels: Tensor, layers: Mapping[str, bool], chunk_size: int | None
) -> dict[str, Tensor]:
    """Return what enters (True) or leaves (False) each layer, one row a sample; the layer must run once a pass."""
    named = dict(model.named_modules(remove_duplicate=False))
    for name in layers:
        if name not in named:
            raise ValueError(unknown_name("layer", name, named))
    caught: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str, value: Any) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"the layer {name!r} must return a tensor, got {type(value).__name__}; name a part of it")
        caught[name].append(value.detach().clone())

    def before(name: str) -> Any:
        return lambda _, args, kwargs: keep(name, args[0] if args else kwargs["input"])

    def after(name: str) -> Any:
        return lambda _, __, output: keep(name, output)

    handles = [
        named[name].register_forward_pre_hook(before(name), with_kwargs=True)
        if entering
        else named[name].register_forward_hook(after(name))
        for name, entering in layers.items()
    ]
    parts: dict[str, list[Tensor]] = {name: [] for name in layers}
    try:
        for _, (rows, classes) in chunks(chunk_size, inputs, labels):
            assert rows is not None
            assert classes is not None
            logits = check_predictions(logits=run_logits(model, rows))
            check_labels(classes.to(logits.device), *logits.shape)
            for name, values in caught.items():
                parts[name].append(_one_row_each(name, values, len(rows), entering=layers[name]))
                values.clear()
    finally:
        for handle in handles:
            handle.remove()
    return {name: torch.cat(rows) for name, rows in parts.items()}


def _one_row_each(name: str, values: list[Tensor], samples: int, *, entering: bool) -> Tensor:
    if len(values) != 1:
        raise ValueError(f"the layer {name!r} must run once in a forward pass, it ran {len(values)} times")
    if values[0].ndim < 2 or len(values[0]) != samples or (entering and values[0].ndim != 2):
        raise ValueError(
            f"the layer {name!r} must have one row for each of {samples} samples, got shape {tuple(values[0].shape)}"
        )
    return values[0].flatten(1)
