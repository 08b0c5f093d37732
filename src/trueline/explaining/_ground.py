"""What several sections stand on: a steered twin, how far an input may be moved, features, other samples."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from trueline.data import Examples
from trueline.numerics import Interval
from trueline.probing import Batch, Setting
from trueline.steer import features_of, head_of, steer
from trueline.subjects import inputs_of

BETA = 0.9
"""How far networks are steered here: smooth, but as a rule with the same predictions."""

_LEVELS = 8  # of 255 grey levels, by which attacks on pictures move a pixel at most
_SHARE = 0.05  # of the inputs' spread, by which they move a number of a table
_REFERENCE = 5000  # most samples that counterfactuals and representers look through


def steered(setting: Setting, batch: Batch) -> nn.Module | None:
    """Return the model with smoother activations, or None if it has none that can be steered.

    Args:
        setting: the model.
        batch: samples to find the activations with.
    """
    try:
        return steer(setting.model, BETA, example=batch.inputs[:2])
    except ValueError:
        return None


def radius_of(batch: Batch) -> tuple[float, tuple[float, float] | None, str]:
    """Return how far a change too small to see may move an entry, the bounds of entries, and both in words.

    Args:
        batch: the samples.
    """
    if batch.inputs.ndim == 4 and batch.unit_range:
        return _LEVELS / 255, (0.0, 1.0), f"{_LEVELS} of 255 grey levels a pixel"
    spread = batch.inputs.double().std().item() if batch.inputs.numel() > 1 else 1.0
    size = _SHARE * (spread if math.isfinite(spread) and spread > 0 else 1.0)
    return size, None, f"{100 * _SHARE:g} % of the inputs' spread a number"


def percent(shares: Float[Tensor, " N"]) -> Interval:
    """Return the mean of shares in percent with its 95 % interval, of which only what lies in [0, 100] is possible.

    Args:
        shares: (N,) in [0, 1]; those that are not finite are left out.
    """
    mean = Interval.of_mean(100 * shares[shares.isfinite()])
    return Interval(mean.value, max(mean.low, 0.0), min(mean.high, 100.0))


def no_picture(setting: Setting, split: str) -> str:
    """Return why a section about pictures has nothing to say, or nothing.

    Args:
        setting: the samples.
        split: which of them.
    """
    shape = setting.subject.input_shape
    if len(shape) != 3 or min(shape[1:]) < 4:
        return f"it needs pictures of 4x4 pixels or more, and the inputs are {'x'.join(map(str, shape))}"
    return ""


def no_head(setting: Setting, split: str) -> str:
    """Return why the model has no features that one linear layer reads, or nothing.

    Args:
        setting: the model.
        split: of its samples.
    """
    try:
        head_of(setting.model, setting.batch(split, 2).inputs)
    except ValueError as error:
        return str(error)
    return ""


@dataclass(frozen=True, eq=False)
class Others:
    """Samples beside those that are explained, with their features.

    Args:
        examples: the samples.
        positions: (M,) where they are in their split.
        split: its name.
        features: (M, D) what the last linear layer reads.
    """

    examples: Examples
    positions: Int64[Tensor, " M"]
    split: str
    features: Float[Tensor, "M D"]

    def picture(self, place: int) -> UInt8[Tensor, "channels H W"] | None:
        """Return one sample as pixels in 0..255, or None if it is no picture.

        Args:
            place: of the sample among these.
        """
        rows = torch.tensor([place])
        alone = Batch(self.examples.select(rows), self.positions[rows], inputs_of(self.examples, rows), self.split)
        return alone.picture(0)


def others(setting: Setting, split: str, exclude: Int64[Tensor, " N"] | None, head: str) -> Others:
    """Return samples of a split with their features.

    Args:
        setting: the model.
        split: the split.
        exclude: positions that are left out.
        head: name of the layer that reads the features.
    """
    examples = setting.subject.parts[split]
    order = torch.randperm(len(examples), generator=setting.generator())
    if exclude is not None:
        order = order[~torch.isin(order, exclude)]
    chosen = order[:_REFERENCE]
    some = examples.select(chosen)
    weight = next(iter(setting.model.parameters()))
    features = []
    for rows in torch.split(torch.arange(len(chosen)), setting.chunk_size):
        inputs = inputs_of(some, rows).to(weight)
        features.append(features_of(setting.model, inputs, head=head, batch_size=setting.chunk_size))
    return Others(some, chosen, split, torch.cat(features).double())


def last_layer(model: nn.Module, name: str) -> nn.Linear:
    """Return a copy of the model's last linear layer, in double precision on the CPU.

    Args:
        model: the model.
        name: of the layer.
    """
    layer = model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn from the global random state
        copy = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None, dtype=torch.float64)
    copy.load_state_dict({key: value.detach().cpu().double() for key, value in layer.state_dict().items()})
    return copy
