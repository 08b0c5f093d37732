"""What a network loses when one layer is put back to an earlier state, after Zhang, Bengio and Singer (2022)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from trueline.contracts import (
    ACCENT,
    NEUTRAL,
    Record,
    Reference,
    check_labels,
    check_predictions,
    import_optional,
    left_as_found,
    method,
    plain_chart,
    read_hits,
    read_log_probs,
    unknown_name,
)
from trueline.numerics import Interval, mean_interval
from trueline.probe._samples import check_samples, default_generator, run_logits

_Tensors = dict[str, Tensor]
_Batch = tuple[Tensor, Tensor]
_Layer = _ConvNd | nn.Linear
_NORMAL = 1.959963984540054  # the 97.5 % quantile


@dataclass(frozen=True)
class LayerLoss:
    """What replacing one layer costs.

    Args:
        name: of the module in the model.
        accuracy: with the layer replaced, the mean over the draws.
        drop: of the accuracy, with a 95 % interval.
        rise: of the log loss in nats, with a 95 % interval.
        distance: ``‖W - W_0‖_F/‖W‖_F`` of the weights and what replaces them, the mean over the draws; infinite for
            weights of zero.
        draws: the drop of each draw; one for a given reference.
    """

    name: str
    accuracy: float
    drop: Interval
    rise: Interval
    distance: float
    draws: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class LayerCriticality(Record):
    """What each of L layers is worth to the predictions of N samples.

    Args:
        hits: share of the draws in which each sample is right with the layer replaced; 0 or 1 for a given reference.
        losses: its log loss, the mean over the draws.
        base_hits: whether it is right with the model as it is.
        base_losses: its log loss then.
        layers: one entry for each column.
        reference: ``"state"`` or ``"random"``, what replaced the layers.
        recalibrated: whether batch-norm statistics were re-estimated.
    """

    hits: Float[Tensor, "N L"]
    losses: Float[Tensor, "N L"]
    base_hits: Bool[Tensor, " N"]
    base_losses: Float[Tensor, " N"]
    layers: tuple[LayerLoss, ...]
    reference: str
    recalibrated: bool

    units: ClassVar[Mapping[str, str]] = {"hits": "share of draws", "losses": "nats", "base_losses": "nats"}

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        what = "the given state" if self.reference == "state" else f"{len(self.layers[0].draws)} random initialisations"
        beyond = [layer for layer in self.layers if layer.drop.low > 0]
        lines = [
            f"layer criticality at {len(self.hits)} samples, each layer alone put back to {what}"
            f"{', batch norm re-estimated' if self.recalibrated else ''}: accuracy "
            f"{self.base_hits.double().mean().item():.4g} as it is; {len(beyond)} of {len(self.layers)} layers cost "
            "accuracy beyond noise"
        ]
        lines += [
            f"  {layer.name or 'the model'}: loses {layer.drop.value:.4g} (95 % interval {layer.drop.low:.4g} to "
            f"{layer.drop.high:.4g}), log loss {layer.rise.value:+.4g}"
            for layer in sorted(self.layers, key=lambda layer: -layer.drop.value)[:5]
        ]
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the drop of accuracy of each layer with its interval.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="LayerCriticality.plot()")
        rows = [
            {"place": place, "name": each.name, "drop": each.drop.value, "low": each.drop.low, "high": each.drop.high}
            for place, each in enumerate(self.layers, start=1)
        ]
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("place:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d")),
            tooltip=[
                alt.Tooltip("name:N"),
                *(alt.Tooltip(f"{key}:Q", format=".3g") for key in ("drop", "low", "high")),
            ],
        )
        title = "drop of accuracy when the layer is put back"
        spans = base.mark_rule(color=NEUTRAL, strokeWidth=2).encode(y=alt.Y("low:Q", title=title), y2="high:Q")
        return plain_chart(alt.layer(spans, base.mark_point(color=ACCENT, filled=True, size=60).encode(y="drop:Q")))


@method(
    Reference(
        authors="Chiyuan Zhang, Samy Bengio, Yoram Singer",
        title="Are All Layers Created Equal?",
        venue="Journal of Machine Learning Research",
        year=2022,
        arxiv="1902.01996",
    ),
    Reference(
        authors="Matteo Gamba, Stefan Carlsson, Hossein Azizpour, Mårten Björkman",
        title="Hyperplane Arrangements of Trained ConvNets Are Biased",
        venue="WACV",
        year=2023,
        arxiv="2003.07797",
    ),
    Reference(
        authors="Alan Agresti, Yongyi Min",
        title="Simple Improved Confidence Intervals for Comparing Matched Proportions",
        venue="Statistics in Medicine",
        year=2005,
        doi="10.1002/sim.1781",
    ),
    cost="a forward pass for each layer and draw; with recalibration, one more for each batch norm behind the layer",
)
def layer_criticality(
    model: nn.Module,
    inputs: Float[Tensor, "N *shape"],
    labels: Int64[Tensor, " N"],
    reference: Mapping[str, Tensor] | Literal["random"],
    *,
    layers: Sequence[str] | None = None,
    draws: int = 5,
    recalibrate: bool = False,
    chunk_size: int | None = None,
    generator: torch.Generator | None = None,
) -> LayerCriticality:
    """Return how much accuracy and log loss suffer when one layer at a time is put back to an earlier state.

    For each layer its weight and bias, and nothing else, are replaced by those of ``reference``, and the drop is
    ``mean_i(hit_i - hit'_i)`` over the same samples, with the paired interval of Agresti and Min, a Wald interval with
    half a sample added to each of the four outcomes: it has a width also where no hit is lost. With random draws the
    half-widths over samples and over draws (Student) are added in squares, for new samples and new draws.

    Statistics of batch norm describe the network before the change, which makes the drop larger. ``recalibrate``
    re-estimates them on the inputs, of the model as it is and of each changed one: one batch norm after the other, each
    from what then enters it in evaluation mode. The hits of a sample then depend on the other samples.

    Args:
        model: any module from inputs to logits (N, C), or (N,) or (N, 1) log-odds of class 1 of two. It is run in
            evaluation mode and left as found: replaced weights never enter it.
        inputs: (N, ...) floating point, on the model's device, as a rule test data.
        labels: (N,) class numbers, int64.
        reference: a state dict of the model, for instance of its initialisation, from which the layer's parameters are
            taken; or ``"random"`` for fresh draws from U(-1/√fan_in, 1/√fan_in), as PyTorch initialises these layers.
            For another scheme give the state dict of a freshly made model.
        layers: names of the layers; None for every convolution whose kernel has more than one pixel and every linear
            layer.
        draws: random initialisations, at least 2; ignored for a state dict.
        recalibrate: re-estimate batch-norm statistics.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        generator: draws the initialisations, on its device; None for one seeded with 0.

    Returns:
        A record with values per sample and layer, and a summary of each layer, whose ``name`` joins it with
        :func:`filter_bias`.

    Raises:
        ValueError: if there is no such layer, the reference lacks a parameter of one or has another shape, or another
            argument does not fit.
        TypeError: if the model is no module, or a dtype is wrong.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        >>> record = layer_criticality(model, torch.randn(6, 2), torch.tensor([0, 1, 0, 1, 0, 1]), start)
        >>> [(layer.name, layer.drop.value) for layer in record.layers]
        [('0', 0.0), ('2', 0.0)]
    """
    check_samples(model, inputs, labels, chunk_size)
    chosen = _chosen(model, layers)
    if isinstance(reference, str) and reference != "random":
        raise ValueError(f"reference must be a state dict or 'random', got {reference!r}")
    if isinstance(reference, str) and draws < 2:
        raise ValueError(f"draws must be at least 2, got {draws}; one draw has no interval")
    taken = {} if isinstance(reference, str) else {name: _taken(name, each, reference) for name, each in chosen.items()}
    generator = default_generator(generator)
    size = len(inputs) if chunk_size is None else chunk_size
    batches = [(inputs[first : first + size], labels[first : first + size]) for first in range(0, len(inputs), size)]
    summaries, hits, losses = [], [], []
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        order = _running_order(model, batches[0][0]) if recalibrate else []
        # Each starts from the statistics of the model as it is: those in front of the layer stay the same.
        base = _settled(model, {}, _behind(model, order, ""), batches)
        base_hits, base_losses = _scores(model, base, batches)
        for name, layer in chosen.items():
            alternatives = [taken[name]] if taken else [_drawn(name, layer, generator) for _ in range(draws)]
            behind = _behind(model, order, name)
            found = [_scores(model, _settled(model, base | each, behind, batches), batches) for each in alternatives]
            hit, loss = (torch.stack(values, dim=1).double() for values in zip(*found, strict=True))
            own = {key: value.detach() for key, value in layer.named_parameters(prefix=name)}
            lost, risen = base_hits.double()[:, None] - hit, loss - base_losses[:, None]
            summaries.append(_summary(name, own, alternatives, hit, lost, risen))
            hits.append(hit.mean(dim=1))
            losses.append(loss.mean(dim=1))
    return LayerCriticality(
        hits=torch.stack(hits, dim=1),
        losses=torch.stack(losses, dim=1),
        base_hits=base_hits,
        base_losses=base_losses,
        layers=tuple(summaries),
        reference="random" if isinstance(reference, str) else "state",
        recalibrated=recalibrate,
    )


def _chosen(model: nn.Module, layers: Sequence[str] | None) -> dict[str, _Layer]:
    known = {name: module for name, module in model.named_modules() if isinstance(module, _Layer)}
    for name, layer in known.items():
        if any(is_lazy(parameter) for parameter in layer.parameters()):
            raise ValueError(f"the layer {name!r} has no shape yet; run the lazy model once before")
    if layers is None:
        wide = {
            name: layer
            for name, layer in known.items()
            if isinstance(layer, nn.Linear) or math.prod(layer.kernel_size) > 1
        }
    else:
        for name in layers:
            if name not in known:
                raise ValueError(unknown_name("convolution or linear layer", name, known))
        wide = {name: known[name] for name in layers}
    if not wide:
        raise ValueError(f"{type(model).__name__} has no linear layer and no convolution to put back")
    return wide


def _taken(name: str, layer: _Layer, state: Mapping[str, Tensor]) -> _Tensors:
    """Return the layer's parameters of a state dict, under their full names."""
    found = {}
    for own, parameter in layer.named_parameters(prefix=name):
        if own not in state:
            raise ValueError(f"reference must hold {own!r}; give a state dict of the same model")
        value = state[own]
        if value.shape != parameter.shape:
            raise ValueError(f"{own!r} of reference must have shape {tuple(parameter.shape)}, got {tuple(value.shape)}")
        if not value.isfinite().all():
            raise ValueError(f"{own!r} of reference must be finite, got NaN or infinity")
        found[own] = value.detach().to(parameter)
    return found


def _drawn(name: str, layer: _Layer, generator: torch.Generator) -> _Tensors:
    """Return parameters as PyTorch initialises them, under their full names."""
    named = dict(layer.named_parameters(prefix=name))
    prefix = f"{name}." if name else ""
    if set(named) - {f"{prefix}weight", f"{prefix}bias"}:
        raise ValueError(f"the layer {name!r} is parametrised and has no random weights; give a state dict instead")
    bound = 1 / math.sqrt(layer.weight[0].numel())
    return {
        own: torch.empty(parameter.shape, dtype=torch.float64, device=generator.device)
        .uniform_(-bound, bound, generator=generator)
        .to(parameter)
        for own, parameter in named.items()
    }


class _Changed(nn.Module):
    """A model with some of its parameters and buffers replaced, which itself stays as it is."""

    def __init__(self, model: nn.Module, tensors: _Tensors) -> None:
        super().__init__()
        self._model = model
        self._tensors = tensors

    def forward(self, inputs: Tensor) -> Any:
        return functional_call(self._model, self._tensors, (inputs,))


def _scores(model: nn.Module, tensors: _Tensors, batches: Sequence[_Batch]) -> tuple[Tensor, Tensor]:
    """Return hits and log losses of all samples, on the CPU."""
    hits, losses = [], []
    for rows, labels in batches:
        logits = check_predictions(logits=run_logits(_Changed(model, tensors), rows))
        own = labels.to(logits.device)
        check_labels(own, *logits.shape)
        hits.append(read_hits(own, logits=logits)[1].cpu())
        losses.append(-read_log_probs(logits=logits).gather(1, own[:, None]).squeeze(1).cpu())
    return torch.cat(hits), torch.cat(losses)


def _running_order(model: nn.Module, inputs: Tensor) -> list[str]:
    """Return the names of layers and batch norms in the order in which they run."""
    order: list[str] = []

    def note(name: str) -> Any:
        return lambda *_: order.append(name)

    named = [(name, module) for name, module in model.named_modules() if isinstance(module, _Layer | _BatchNorm)]
    handles = [module.register_forward_pre_hook(note(name)) for name, module in named]
    try:
        run_logits(model, inputs)
    finally:
        for handle in handles:
            handle.remove()
    norms = [name for name in order if isinstance(model.get_submodule(name), _BatchNorm)]
    if not norms:
        raise ValueError(f"{type(model).__name__} runs no batch norm to re-estimate; pass recalibrate=False")
    if twice := [name for name in norms if norms.count(name) > 1]:
        raise ValueError(f"the batch norm {twice[0]!r} runs more than once; re-estimation needs one input each")
    return order


def _behind(model: nn.Module, order: Sequence[str], layer: str) -> list[str]:
    """Return the batch norms that run after a layer; all of them where the layer itself was not seen."""
    place = order.index(layer) if layer in order else 0
    return [name for name in order[place:] if isinstance(model.get_submodule(name), _BatchNorm)]


class _Reached(Exception):  # noqa: N818  # no error: what comes behind the layer is not needed
    pass


def _settled(model: nn.Module, tensors: _Tensors, norms: Sequence[str], batches: Sequence[_Batch]) -> _Tensors:
    """Return the tensors with the statistics of some batch norms re-estimated, in the order in which they run."""
    for name in norms:
        norm = model.get_submodule(name)
        assert isinstance(norm, _BatchNorm)
        count, mean, squares = _moments(norm, model, tensors, batches)
        if count < 2:
            raise ValueError(f"the batch norm {name!r} needs two values a channel to be re-estimated, got {count}")
        assert norm.running_mean is not None
        assert norm.running_var is not None
        prefix = f"{name}." if name else ""
        tensors = tensors | {
            f"{prefix}running_mean": mean.to(norm.running_mean),
            f"{prefix}running_var": (squares / (count - 1)).to(norm.running_var),
        }
    return tensors


def _moments(
    norm: _BatchNorm, model: nn.Module, tensors: _Tensors, batches: Sequence[_Batch]
) -> tuple[int, Tensor, Tensor]:
    """Return count, mean and sum of squares about it of what comes into each channel of one batch norm."""
    parts: list[tuple[int, Tensor, Tensor]] = []

    def measure(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x: Tensor = args[0] if args else kwargs["input"]
        values = x.transpose(0, 1).flatten(1).double()
        mean = values.mean(dim=1)
        parts.append((values.shape[1], mean, (values - mean[:, None]).square().sum(dim=1)))
        raise _Reached

    handle = norm.register_forward_pre_hook(measure, with_kwargs=True)
    try:
        for rows, _ in batches:
            with suppress(_Reached):
                functional_call(model, tensors, (rows,))
    finally:
        handle.remove()
    count = sum(size for size, _, _ in parts)
    centre = torch.stack([size / count * mean for size, mean, _ in parts]).sum(dim=0)
    around = [squares + size * (mean - centre).square() for size, mean, squares in parts]
    return count, centre, torch.stack(around).sum(dim=0)


def _summary(
    name: str, own: _Tensors, alternatives: Sequence[_Tensors], hits: Tensor, lost: Tensor, risen: Tensor
) -> LayerLoss:
    """Summarise one layer from hits, lost hits and risen losses of shape (N, draws)."""
    weights = [key for key in own if key.rpartition(".")[2] != "bias"]
    size = _length(own[key] for key in weights)
    apart = [_length(each[key].double() - own[key].double() for key in weights) for each in alternatives]
    return LayerLoss(
        name=name,
        accuracy=hits.mean().item(),
        drop=_drop_interval(lost),
        rise=_rise_interval(risen),
        distance=sum(apart) / len(apart) / size if size > 0 else math.inf,
        draws=tuple(lost.mean(dim=0).tolist()),
    )


def _length(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def _drop_interval(lost: Tensor) -> Interval:
    """Return the mean of paired differences in [-1, 1] and its interval, with two samples added."""
    each = lost.mean(dim=1)
    samples = len(each) + 2
    centre = each.sum().item() / samples
    variance = (each.square().sum().item() + 1 - samples * centre**2) / samples**2
    half = math.hypot(_NORMAL * math.sqrt(variance), _half_over_draws(lost))
    return Interval(each.mean().item(), max(-1.0, centre - half), min(1.0, centre + half))


def _rise_interval(risen: Tensor) -> Interval:
    each = risen.mean(dim=1)
    value = each.mean().item()
    if len(each) == 1:
        return Interval(value, -math.inf, math.inf)
    half = math.hypot(mean_interval(each)[2] - value, _half_over_draws(risen))
    return Interval(value, value - half, value + half)


def _half_over_draws(values: Tensor) -> float:
    """Return half the Student interval of the draws' means; 0 for a single replacement, which is no draw."""
    if values.shape[1] == 1:
        return 0.0
    value, _, high = mean_interval(values.mean(dim=0))
    return high - value
