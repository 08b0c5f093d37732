"""Orientation of the hyperplanes of filters, after Gamba et al. (2023)."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.parameter import is_lazy

from trueline.contracts import NEUTRAL, Record, Reference, import_optional, left_as_found, method, plain_chart
from trueline.numerics import Interval, fair_coin_p_value, mean_interval

_Layer = _ConvNd | nn.Linear
_ALPHA = 0.05  # of the layers that the sentences name


@dataclass(frozen=True)
class SignBias:
    """How the filters of a layer, or of all layers, lean, against filters whose signs are fair coins.

    Args:
        filters: how many are counted.
        mass: share with p <= 0, a sum of exactly 0 included.
        z: ``(n₋ - n₊)/√(n₋ + n₊)`` of the filters with p below and above 0; ``(2·mass - 1)·√n`` without sums of 0.
        p_value: two-sided, exact, of the same two numbers under a fair coin.
        adjusted_p_value: corrected by Holm for the number of layers; for all layers together ``p_value``.
        mean: of the cosines, with its 95 % Student interval; infinite for one filter.
        spread: variance of ``√d·cosine``, 1 for weights without a preferred direction; NaN for one filter.
    """

    filters: int
    mass: float
    z: float
    p_value: float
    adjusted_p_value: float
    mean: Interval
    spread: float


@dataclass(frozen=True)
class LayerBias:
    """One layer of a :class:`FilterBias`.

    Args:
        name: of the module in the model.
        fan_in: d, weights of a filter; for a grouped convolution those of its group.
        zero_filters: filters whose weights are all zero, which are left out.
        silent_filters: filters whose batch norm has a scale of zero, left out of ``folded``.
        batch_norm: name of the batch norm that gets the layer's output, or None.
        first: whether it is the first of those counted; inputs of a network are often negative, and a negative sum
            then does not mean mostly off.
        lowest_input: the smallest value that the example sent into it; None without an example.
        raw: of the weights as they are.
        folded: of the weights times the sign of the batch norm's scale; None if all filters are silent.
    """

    name: str
    fan_in: int
    zero_filters: int
    silent_filters: int
    batch_norm: str | None
    first: bool
    lowest_input: float | None
    raw: SignBias
    folded: SignBias | None


@dataclass(frozen=True, eq=False)
class FilterBias(Record):
    """How the filters of a network lean against the all-ones direction, filter by filter; arrays of shape (F,).

    Args:
        sums: ``p = Σ_j w_j`` of each filter.
        cosines: ``p/(‖w‖·√d)``, the cosine with the all-ones direction, in [-1, 1].
        scales: ``γ/√(var + ε)`` of the batch norm after it, 1 without one. ``sign(scale)·cosine`` is the folded cosine.
        intercepts: c where the filter's hyperplanes cross the line of constant inputs ``c·1``, with the batch norm
            folded in: ``c = -b/Σw`` for the folded bias and weight; infinite where parallel, or the filter is silent.
        layer: place of each filter's layer in ``layers``.
        channel: place of each filter in its layer.
        layers: one entry for each layer.
        raw: all filters together.
        folded: likewise; None if all are silent.
        skipped: why other layers are left out, by name.
    """

    sums: Float[Tensor, " F"]
    cosines: Float[Tensor, " F"]
    scales: Float[Tensor, " F"]
    intercepts: Float[Tensor, " F"]
    layer: Int64[Tensor, " F"]
    channel: Int64[Tensor, " F"]
    layers: tuple[LayerBias, ...]
    raw: SignBias
    folded: SignBias | None
    skipped: Mapping[str, str]

    units: ClassVar[Mapping[str, str]] = {
        "sums": "unit of the weights",
        "cosines": "1",
        "scales": "1 / unit of the layer's output",
        "intercepts": "unit of the layer's input",
        "raw": "1",
        "folded": "1",
    }

    def __str__(self) -> str:
        """Say what the numbers mean, in a few lines."""
        best, kind = (self.folded, "with batch norm folded in") if self.folded is not None else (self.raw, "raw")
        lines = [
            f"filter bias of {len(self.layers)} layers, {best.filters} filters, {kind}: {100 * best.mass:.3g} % lean "
            f"against the all-ones direction, where a fair coin gives 50 % (p = {best.p_value:.2g}); mean cosine "
            f"{best.mean.value:.3g} (95 % interval {best.mean.low:.3g} to {best.mean.high:.3g})"
        ]
        named = [(layer, layer.folded or layer.raw) for layer in self.layers]
        leaning = [pair for pair in named if pair[1].adjusted_p_value < _ALPHA]
        lines.append(
            f"{len(leaning)} of {len(self.layers)} layers lean one way beyond chance (p < {_ALPHA} after Holm's "
            "correction)"
        )
        for layer, bias in sorted(leaning, key=lambda pair: -abs(pair[1].z))[:5]:
            first = ", the first layer, whose inputs may be negative" if layer.first else ""
            lines.append(f"  {layer.name or 'the model'}: {100 * bias.mass:.3g} %, z = {bias.z:+.2f}{first}")
        if zero := sum(layer.zero_filters for layer in self.layers):
            lines.append(f"{zero} filters of zeros left out")
        if silent := sum(layer.silent_filters for layer in self.layers):
            lines.append(f"{silent} filters silenced by a batch-norm scale of zero left out where it is folded in")
        if self.skipped:
            lines.append(f"{len(self.skipped)} layers skipped: {', '.join(sorted(set(self.skipped.values())))}")
        return "\n".join(lines)

    def plot(self) -> Any:
        """Return an Altair chart: the share of negative sums of each layer, raw and folded, and the fair coin's band.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="FilterBias.plot()")
        rows, bands = [], []
        for place, layer in enumerate(self.layers, start=1):
            about = {"place": place, "name": layer.name}
            half = 0.98 / math.sqrt(layer.raw.filters)  # 1.96 standard errors of a fair coin
            bands.append({**about, "low": max(0.0, 0.5 - half), "high": min(1.0, 0.5 + half)})
            for kind, bias in {"raw": layer.raw, "folded": layer.folded}.items():
                if bias is not None:
                    rows.append({**about, "weights": kind, "mass": bias.mass, "p": bias.adjusted_p_value})
        x = alt.X("place:Q", title="layer", axis=alt.Axis(tickMinStep=1, format="d"))
        title = "share of filters with a sum of at most 0"
        y = alt.Y("mass:Q", scale=alt.Scale(domain=[0, 1]), title=title)
        band = alt.Chart(alt.Data(values=bands)).mark_rule(color=NEUTRAL, opacity=0.4, strokeWidth=6)
        points = alt.Chart(alt.Data(values=rows)).mark_point(filled=True, size=60, opacity=0.9)
        tooltip = [alt.Tooltip("name:N"), alt.Tooltip("mass:Q", format=".3g"), alt.Tooltip("p:Q", format=".2g")]
        colours = alt.Scale(domain=["raw", "folded"], range=["#c2703d", "#3b82c4"])
        colour = alt.Color("weights:N", scale=colours, legend=alt.Legend(labelColor=NEUTRAL, titleColor=NEUTRAL))
        shape = alt.Shape("weights:N", scale=alt.Scale(domain=["raw", "folded"], range=["square", "circle"]))
        spans = band.encode(x=x, y=alt.Y("low:Q", title=title), y2="high:Q")
        return plain_chart(alt.layer(spans, points.encode(x=x, y=y, color=colour, shape=shape, tooltip=tooltip)))


@method(
    Reference(
        authors="Matteo Gamba, Stefan Carlsson, Hossein Azizpour, Mårten Björkman",
        title="Hyperplane Arrangements of Trained ConvNets Are Biased",
        venue="WACV",
        year=2023,
        arxiv="2003.07797",
    ),
    Reference(
        authors="Sture Holm",
        title="A Simple Sequentially Rejective Multiple Test Procedure",
        venue="Scandinavian Journal of Statistics",
        year=1979,
    ),
    cost="one pass over the weights, and one forward pass of the example",
)
def filter_bias(
    model: nn.Module, *, example: Float[Tensor, "N *shape"] | None = None, linear: bool = False
) -> FilterBias:
    """Return whether the filters of each layer all face the same way, and how surprising that is.

    A convolution puts the same weights w on every patch, so all its hyperplanes of a filter make the same angle with
    the line of constant inputs ``{c·1}`` and cross it at the same ``c = -b/Σw``: how the bundle lies is the sign of
    ``p = Σ_j w_j``. For each layer: the share of filters with ``p <= 0``, and its two-sided exact binomial p-value
    under the null that signs are fair coins, as for any symmetric independent initialisation. The normalised
    ``p/(‖w‖·√d)`` is then distributed about as N(0, 1/d).

    Behind a batch norm with scale γ the sign of a filter is that of ``γ·p``: both the raw and this folded statistic are
    reported. Which batch norm follows a layer is seen in a forward pass of ``example``: the one that gets the layer's
    output, untouched. Without an example it is read from the order of the modules where that leaves no doubt, which is
    in plain ``nn.Sequential`` containers alone. Of layers without a batch norm both statistics are the same.

    Convolutions with a kernel of one pixel are skipped, as published, and transposed ones; filters of zeros are left
    out and counted. Negative sums mean "mostly off" only where inputs are not negative, see ``lowest_input``.

    Args:
        model: any module; it is run in evaluation mode and left as found. Batch-norm statistics must be tracked.
        example: (N, ...) a few inputs on the model's device; needed where batch norm sits in containers other than
            ``nn.Sequential``. Layers that it does not reach are skipped.
        linear: also count linear layers.

    Returns:
        A record with one value per filter, and the statistics of each layer and of all.

    Raises:
        ValueError: if no layer is left, the order of layers is in doubt, a layer feeds several batch norms or only at
            times one, a batch norm tracks no statistics, or a weight or the example is not finite.
        TypeError: if the model is no module or the example not floating point.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU())
        >>> record = filter_bias(model)
        >>> record.layers[0].batch_norm, record.raw.filters
        ('1', 3)
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if example is not None and not example.is_floating_point():
        raise TypeError(f"example must be floating point, got {example.dtype}; convert with example.float()")
    if example is not None and not (example.numel() and example.isfinite().all()):
        raise ValueError(f"example must be finite and not empty, got shape {tuple(example.shape)}; give a few inputs")
    layers, skipped = _counted(model, linear)
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        if example is not None:
            norms, lowest = _watch(model, layers, example)
            skipped.update({name: "not reached by the example" for name in layers if name not in norms})
        else:
            norms, lowest = _read_order(model, layers), {}
        found = [_Filters(name, layers[name], norms[name], not place) for place, name in enumerate(norms)]
    skipped.update({each.name: "all filters are zero" for each in found if not each.channel.numel()})
    found = [each for each in found if each.channel.numel()]
    if not found:
        raise ValueError(f"{type(model).__name__} has no filters to count; skipped: {skipped or 'nothing'}")
    named = {id(module): name for name, module in model.named_modules()}
    raw = _adjusted([_sign_bias(each.cosines, each.fan_in) for each in found])
    folded = _adjusted([_sign_bias(*each.folded()) for each in found])
    return FilterBias(
        sums=torch.cat([each.sums for each in found]),
        cosines=torch.cat([each.cosines for each in found]),
        scales=torch.cat([each.scales for each in found]),
        intercepts=torch.cat([each.intercepts for each in found]),
        layer=torch.cat([torch.full_like(each.channel, place) for place, each in enumerate(found)]),
        channel=torch.cat([each.channel for each in found]),
        layers=tuple(
            LayerBias(
                name=each.name,
                fan_in=each.fan_in,
                zero_filters=each.zero_filters,
                silent_filters=int((each.scales == 0).sum()),
                batch_norm=None if each.norm is None else named[id(each.norm)],
                first=each.first,
                lowest_input=lowest.get(each.name),
                raw=own,
                folded=other,
            )
            for each, own, other in zip(found, raw, folded, strict=True)
            if own is not None
        ),
        raw=_pooled([(each.cosines, each.fan_in) for each in found]),
        folded=_pooled([each.folded() for each in found]) if any(folded) else None,
        skipped=skipped,
    )


class _Filters:
    """The filters of one layer that are not zero, in double precision on the CPU.

    Args:
        name: of the layer.
        layer: the module.
        norm: the batch norm that gets its output, or None.
        first: whether it runs first.
    """

    def __init__(self, name: str, layer: _Layer, norm: _BatchNorm | None, first: bool) -> None:
        self.name, self.norm, self.first = name, norm, first
        weight = _double(layer.weight).flatten(1)
        if not weight.isfinite().all():
            raise ValueError(f"the weights of {name!r} must be finite, got NaN or infinity")
        bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else _double(layer.bias)
        scale, shift = torch.ones_like(bias), torch.zeros_like(bias)
        if norm is not None:
            if norm.running_mean is None or norm.running_var is None:
                raise ValueError(
                    f"the batch norm after {name!r} has no running statistics; use track_running_stats=True"
                )
            scale = (_double(norm.running_var) + norm.eps).rsqrt()
            shift = -_double(norm.running_mean)
            scale = scale if norm.weight is None else scale * _double(norm.weight)
        used = weight.any(dim=1)
        self.fan_in = weight.shape[1]
        self.zero_filters = int((~used).sum())
        self.channel = used.nonzero().squeeze(1)
        self.scales = scale[used]
        self.sums = weight[used].sum(dim=1)
        self.cosines = self.sums / (weight[used].norm(dim=1) * math.sqrt(self.fan_in))
        offset = scale * (bias + shift)
        offset = offset if norm is None or norm.bias is None else offset + _double(norm.bias)
        slope = self.scales * self.sums
        parallel = slope == 0
        self.intercepts = torch.where(parallel, math.inf, -offset[used] / torch.where(parallel, 1, slope))

    def folded(self) -> tuple[Tensor, int]:
        audible = self.scales != 0
        return self.cosines[audible] * self.scales[audible].sign(), self.fan_in


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().double()


def _counted(model: nn.Module, linear: bool) -> tuple[dict[str, _Layer], dict[str, str]]:
    """Return the layers to count, and why other convolutions are not."""
    layers: dict[str, _Layer] = {}
    skipped: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        if not isinstance(module, _Layer) or (isinstance(module, nn.Linear) and not linear):
            continue
        if any(is_lazy(parameter) for parameter in module.parameters()):
            raise ValueError(f"the layer {name!r} has no shape yet; run the lazy model once before")
        shared = id(next(module.parameters(), module))
        owner = owners.setdefault(shared, name)
        if isinstance(module, _ConvTransposeNd):
            skipped[name] = "transposed convolution"
        elif isinstance(module, _ConvNd) and math.prod(module.kernel_size) == 1:
            skipped[name] = "kernel of one pixel"
        elif owner != name:
            skipped[name] = "shares the weights of another layer"
        else:
            layers[name] = module
    return layers, skipped


def _watch(
    model: nn.Module, layers: Mapping[str, _Layer], example: Tensor
) -> tuple[dict[str, _BatchNorm | None], dict[str, float]]:
    """Return the batch norm behind each layer that runs, in the order of execution, and each layer's lowest input."""
    outputs: list[tuple[str, Tensor, int]] = []
    followers: dict[int, _BatchNorm] = {}
    lowest: dict[str, float] = {}

    def enter(name: str) -> Any:
        def see(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            x = args[0] if args else kwargs["input"]
            lowest[name] = min(lowest.get(name, math.inf), x.min().item())

        return see

    def leave(name: str) -> Any:
        return lambda _, __, output: outputs.append((name, output, output._version))

    def meet(norm: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        assert isinstance(norm, _BatchNorm)
        x = args[0] if args else kwargs["input"]
        for place, (name, output, version) in enumerate(outputs):
            if output is x and version == x._version and followers.setdefault(place, norm) is not norm:
                raise ValueError(f"the output of {name!r} enters several batch norms: there is no one to fold in")

    handles = []
    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_pre_hook(enter(name), with_kwargs=True))
            handles.append(layer.register_forward_hook(leave(name)))
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                handles.append(module.register_forward_pre_hook(meet, with_kwargs=True))
        model(example)
    finally:
        for handle in handles:
            handle.remove()
    norms: dict[str, _BatchNorm | None] = {}
    for place, (name, _, _) in enumerate(outputs):
        norm = followers.get(place)
        if norms.setdefault(name, norm) is not norm:
            raise ValueError(f"the layer {name!r} runs several times, not always before the same batch norm")
    return norms, lowest


def _read_order(model: nn.Module, layers: Mapping[str, _Layer]) -> dict[str, _BatchNorm | None]:
    """Return the batch norm behind each layer where the order of the modules leaves no doubt."""
    if not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return dict.fromkeys(layers)
    names = {id(module): name for name, module in layers.items()}
    norms: dict[str, _BatchNorm | None] = {}
    last: str | None = None
    for module in _in_order(model):
        if isinstance(module, nn.Identity | _DropoutNd):
            continue
        if id(module) in names:
            last = names[id(module)]
            if last in norms:
                raise ValueError(f"the layer {last!r} occurs twice; pass example= to see what follows it")
            norms[last] = None
        else:
            if last is not None and isinstance(module, _BatchNorm):
                norms[last] = module
            last = None
    return norms


def _in_order(module: nn.Module) -> Iterator[nn.Module]:
    """Yield what runs, one after the other, in nested sequential containers."""
    if type(module) is nn.Sequential:
        for child in module:
            yield from _in_order(child)
        return
    inside = list(module.children())
    if any(isinstance(each, _ConvNd | nn.Linear | _BatchNorm) for child in inside for each in child.modules()):
        raise ValueError(
            f"which batch norm follows which layer cannot be read from the modules of {type(module).__name__}; pass "
            "example=, a few inputs to watch"
        )
    yield module


def _sign_bias(cosines: Tensor, fan_in: int) -> SignBias | None:
    return _pooled([(cosines, fan_in)]) if len(cosines) else None


def _pooled(parts: list[tuple[Tensor, int]]) -> SignBias:
    cosines = torch.cat([part for part, _ in parts])
    scaled = torch.cat([part * math.sqrt(fan_in) for part, fan_in in parts])
    count, negative, positive = len(cosines), int((cosines < 0).sum()), int((cosines > 0).sum())
    p_value = fair_coin_p_value(negative, negative + positive)
    several = count > 1
    return SignBias(
        filters=count,
        mass=(cosines <= 0).double().mean().item(),
        z=(negative - positive) / math.sqrt(max(negative + positive, 1)),
        p_value=p_value,
        adjusted_p_value=p_value,
        mean=Interval(*mean_interval(cosines)) if several else Interval(cosines.item(), -math.inf, math.inf),
        spread=scaled.var().item() if several else math.nan,
    )


def _adjusted(layers: list[SignBias | None]) -> list[SignBias | None]:
    """Put in Holm's p-values: the k-th smallest of m times m - k + 1, never below the one before."""
    known = sorted((bias.p_value, place) for place, bias in enumerate(layers) if bias is not None)
    adjusted, highest = list(layers), 0.0
    for rank, (p_value, place) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - rank) * p_value))
        bias = layers[place]
        assert bias is not None
        adjusted[place] = replace(bias, adjusted_p_value=highest)
    return adjusted
