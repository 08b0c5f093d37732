"""Mean and spread of the channels."""

import torch
from torch import Tensor
from torch.utils.data import Dataset

from trueline.data._examples import Examples

CHUNK = 1_000
MEASURED_SAMPLES = 10_000


def normalisation(examples: Examples) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of each channel (axis 1), in units of the scaled inputs.

    Args:
        examples: the training set, at least one sample.

    Returns:
        Mean and population standard deviation, one value per channel; the deviation of a constant channel is 1.

    Raises:
        ValueError: if there are no samples.

    Cost:
        One pass in float64; of a data set that is not in memory, at most 10,000 evenly spaced samples are read.

    Example:
        >>> labels = torch.tensor([0, 1])
        >>> inputs = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
        >>> normalisation(Examples(inputs, labels, labels, ("a", "b"), torch.arange(2)))
        ((2.0, 5.0), (1.0, 1.0))
    """
    if not len(examples):
        raise ValueError("normalisation needs at least one sample, got none")
    inputs = examples.inputs
    step = 1 if isinstance(inputs, Tensor) else -(-len(examples) // MEASURED_SAMPLES)
    positions = range(0, len(examples), step)
    start = _rows(inputs, positions[:1]).double().transpose(0, 1).flatten(1)[:, 0]
    # measured from the first value, so that a constant channel has exactly no variance
    total, squares, count = torch.zeros_like(start), torch.zeros_like(start), 0
    for first in range(0, len(positions), CHUNK):
        rows = _rows(inputs, positions[first : first + CHUNK])
        values = rows.double().transpose(0, 1).flatten(1) - start[:, None]
        total += values.sum(dim=1)
        squares += values.square().sum(dim=1)
        count += values.shape[1]
        unit = examples.value_range if rows.dtype == torch.uint8 else 1.0
    std = (squares / count - (total / count).square()).clamp_min(0.0).sqrt() / unit
    mean = (start + total / count) / unit
    return tuple(mean.tolist()), tuple(torch.where(std > 0, std, 1.0).tolist())


def _rows(inputs: Tensor | Dataset[Tensor], positions: range) -> Tensor:
    if isinstance(inputs, Tensor):
        return inputs[positions.start : positions.stop : positions.step]
    return torch.stack([inputs[position] for position in positions])
