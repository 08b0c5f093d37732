"""What a network loses when one layer is put back to an earlier state, after Zhang, Bengio and Singer (2022)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from trueline.contracts import (
    Reference,
    check_labels,
    check_predictions,
    check_samples,
    default_generator,
    left_as_found,
    method,
    read_hits,
    read_log_probs,
    run_logits,
    unknown_name,
)
from trueline.probe._earlier_weights import drawn_weights, weights_of_state
from trueline.probe._filter_bias import ARRANGEMENTS
from trueline.probe._layer_criticality_record import LayerCriticality, LayerLoss
from trueline.probe._paired_intervals import drop_interval, rise_interval
from trueline.probe._settled_batch_norm import batch_norms_after, running_order, settled
from trueline.probe._weight_layers import WeightLayer, sees_one_pixel, weight_layers


@method(
    Reference(
        authors="Chiyuan Zhang, Samy Bengio, Yoram Singer",
        title="Are All Layers Created Equal?",
        venue="Journal of Machine Learning Research",
        year=2022,
        arxiv="1902.01996",
    ),
    ARRANGEMENTS,
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
    taken = {}
    if not isinstance(reference, str):
        taken = {name: weights_of_state(name, layer, reference) for name, layer in chosen.items()}
    generator = default_generator(generator)
    size = len(inputs) if chunk_size is None else chunk_size
    batches = [inputs[first : first + size] for first in range(0, len(inputs), size)]
    summaries, hits, losses = [], [], []
    with torch.inference_mode(mode=False), torch.no_grad(), left_as_found(model):
        order = running_order(model, batches[0]) if recalibrate else []
        # Each starts from the statistics of the model as it is: those in front of the layer stay the same.
        base = settled(model, {}, batch_norms_after(model, order, ""), batches)
        base_hits, base_losses = _scores(model, base, batches, labels)
        for name, layer in chosen.items():
            alternatives = [taken[name]] if taken else [drawn_weights(name, layer, generator) for _ in range(draws)]
            behind = batch_norms_after(model, order, name)
            changed = [settled(model, base | each, behind, batches) for each in alternatives]
            found = [_scores(model, each, batches, labels) for each in changed]
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


def _chosen(model: nn.Module, layers: Sequence[str] | None) -> dict[str, WeightLayer]:
    known = weight_layers(model)
    if layers is None:
        chosen = {name: layer for name, layer in known.items() if not sees_one_pixel(layer)}
    else:
        for name in layers:
            if name not in known:
                raise ValueError(unknown_name("convolution or linear layer", name, known))
        chosen = {name: known[name] for name in layers}
    if not chosen:
        raise ValueError(f"{type(model).__name__} has no linear layer and no convolution to put back")
    return chosen


class _Changed(nn.Module):
    """A model with some of its parameters and buffers replaced, which itself stays as it is."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self._model = model
        self._tensors = tensors

    def forward(self, inputs: Tensor) -> Any:
        return functional_call(self._model, self._tensors, (inputs,))


def _scores(
    model: nn.Module, tensors: dict[str, Tensor], batches: Sequence[Tensor], labels: Tensor
) -> tuple[Tensor, Tensor]:
    """Return hits and log losses of all samples, on the CPU."""
    hits, losses = [], []
    for rows, classes in zip(batches, torch.split(labels, len(batches[0])), strict=True):
        logits = check_predictions(logits=run_logits(_Changed(model, tensors), rows))
        own = classes.to(logits.device)
        check_labels(own, *logits.shape)
        hits.append(read_hits(own, logits=logits)[1].cpu())
        losses.append(-read_log_probs(logits=logits).gather(1, own[:, None]).squeeze(1).cpu())
    return torch.cat(hits), torch.cat(losses)


def _summary(
    name: str,
    own: Mapping[str, Tensor],
    alternatives: Sequence[Mapping[str, Tensor]],
    hits: Tensor,
    lost: Tensor,
    risen: Tensor,
) -> LayerLoss:
    """Summarise one layer from hits, lost hits and risen losses of shape (N, draws)."""
    weights = [key for key in own if key.rpartition(".")[2] != "bias"]
    size = _length(own[key] for key in weights)
    apart = [_length(each[key].double() - own[key].double() for key in weights) for each in alternatives]
    return LayerLoss(
        name=name,
        accuracy=hits.mean().item(),
        drop=drop_interval(lost),
        rise=rise_interval(risen),
        distance=sum(apart) / len(apart) / size if size > 0 else math.inf,
        draws=tuple(lost.mean(dim=0).tolist()),
    )


def _length(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))
