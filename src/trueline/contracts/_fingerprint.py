"""A small fingerprint of predictions, to notice that a method is judged on the samples it was fitted to."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

_KEPT = 256
_COLUMNS = 8
_GRID = 1024.0  # the same predictions may reach us as logits or as rounded probabilities
_ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # the golden ratio's fraction, as a signed 64-bit number


def fingerprint(log_probs: Float[Tensor, "N C"]) -> Int64[Tensor, " S"]:
    """Return the 256 smallest hashes of the rows: a sample of them that depends on their values only.

    Args:
        log_probs: (N, C) log-probabilities.

    Returns:
        (S,) distinct hashes in ascending order on the CPU; none where most rows are repeated, since equal rows then
        say nothing about equal samples.
    """
    hashes: Tensor = torch.unique(_hashes(log_probs))
    return hashes[:_KEPT] if 2 * len(hashes) > len(log_probs) else hashes[:0]


def share_seen(seen: Int64[Tensor, " S"], log_probs: Float[Tensor, "N C"]) -> float:
    """Return the share of the fingerprinted rows that are among these rows.

    Args:
        seen: a :func:`fingerprint` of other rows.
        log_probs: (N, C) log-probabilities.

    Returns:
        A share in [0, 1], exact up to 256 fingerprinted rows and estimated from 256 of them beyond.
    """
    return torch.isin(seen, _hashes(log_probs)).double().mean().item() if len(seen) else 0.0


def _hashes(log_probs: Tensor) -> Tensor:
    columns = torch.linspace(0, log_probs.shape[1] - 1, min(_COLUMNS, log_probs.shape[1])).round().long()
    cells = (log_probs.detach()[:, columns.to(log_probs.device)].double() * _GRID).round().long().cpu()
    mixed = torch.zeros(len(cells), dtype=torch.int64)
    for column in cells.T:
        mixed = (mixed ^ column) * _ODD  # wraps around, as it should
        mixed = mixed ^ (mixed >> 29)
    return mixed
