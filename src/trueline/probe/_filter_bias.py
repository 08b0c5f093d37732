"""Orientation of the hyperplanes of filters, after Gamba et al. (2023)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from trueline.contracts import Reference, left_as_found, method
from trueline.probe._batch_norm_behind import read_batch_norms, watch_batch_norms
from trueline.probe._filter_bias_record import FilterBias, LayerBias
from trueline.probe._folded_filters import FoldedFilters
from trueline.probe._sign_bias import sign_bias, sign_bias_by_layer
from trueline.probe._weight_layers import WeightLayer, sees_one_pixel, weight_layers

ARRANGEMENTS = Reference(
    authors="Matteo Gamba, Stefan Carlsson, Hossein Azizpour, Mårten Björkman",
    title="Hyperplane Arrangements of Trained ConvNets Are Biased",
    venue="WACV",
    year=2023,
    arxiv="2003.07797",
)


@method(
    ARRANGEMENTS,
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
            norms, lowest = watch_batch_norms(model, layers, example)
            skipped.update({name: "not reached by the example" for name in layers if name not in norms})
        else:
            norms, lowest = read_batch_norms(model, layers), {}
        found = [FoldedFilters(name, layers[name], norms[name], not place) for place, name in enumerate(norms)]
    skipped.update({each.name: "all filters are zero" for each in found if not each.channel.numel()})
    found = [each for each in found if each.channel.numel()]
    if not found:
        raise ValueError(f"{type(model).__name__} has no filters to count; skipped: {skipped or 'nothing'}")
    named = {id(module): name for name, module in model.named_modules()}
    raw = sign_bias_by_layer([each.raw() for each in found])
    folded = sign_bias_by_layer([each.folded() for each in found])
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
        raw=sign_bias([each.raw() for each in found]),
        folded=sign_bias([each.folded() for each in found]) if any(folded) else None,
        skipped=skipped,
    )


def _counted(model: nn.Module, linear: bool) -> tuple[dict[str, WeightLayer], dict[str, str]]:
    """Return the layers to count, and why others are not."""
    layers: dict[str, WeightLayer] = {}
    skipped: dict[str, str] = {}
    owners: dict[int, str] = {}
    for name, module in weight_layers(model, linear=linear).items():
        shared = id(next(module.parameters(), module))
        owner = owners.setdefault(shared, name)
        if isinstance(module, _ConvTransposeNd):
            skipped[name] = "transposed convolution"
        elif sees_one_pixel(module):
            skipped[name] = "kernel of one pixel"
        elif owner != name:
            skipped[name] = "shares the weights of another layer"
        else:
            layers[name] = module
    return layers, skipped
