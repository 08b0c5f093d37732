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
    return smallest_hashes(row_hashes(log_probs))


def smallest_hashes(hashes: Int64[Tensor, " N"]) -> Int64[Tensor, " S"]:
    """Return the :func:`fingerprint` of rows from their hashes, which may have been computed a few rows at a time.

    Args:
        hashes: (N,) of every row.

    Returns:
        (S,) distinct hashes in ascending order; none where most rows are repeated.
    """
    distinct: Tensor = torch.unique(hashes)
    return distinct[:_KEPT] if 2 * len(distinct) > len(hashes) else distinct[:0]


def share_seen(seen: Int64[Tensor, " S"], log_probs: Float[Tensor, "N C"]) -> float:
    """Return the share of the fingerprinted rows that are among these rows.

    Args:
        seen: a :func:`fingerprint` of other rows.
        log_probs: (N, C) log-probabilities.

    Returns:
        A share in [0, 1], exact up to 256 fingerprinted rows and estimated from 256 of them beyond.
    """
    return torch.isin(seen, row_hashes(log_probs)).double().mean().item() if len(seen) else 0.0


def row_hashes(log_probs: Float[Tensor, "N C"]) -> Int64[Tensor, " N"]:
    """Return one number a row, the same for rows that agree to about a thousandth in up to eight of their entries.

    Args:
        log_probs: (N, C) log-probabilities.

    Returns:
        (N,) hashes on the CPU.
    """
    columns = torch.linspace(0, log_probs.shape[1] - 1, min(_COLUMNS, log_probs.shape[1])).round().long()
    cells = (log_probs.detach()[:, columns.to(log_probs.device)].double() * _GRID).round().long().cpu()
    mixed = torch.zeros(len(cells), dtype=torch.int64)
    for column in cells.T:
        mixed = (mixed ^ column) * _ODD  # wraps around, as it should
        mixed = mixed ^ (mixed >> 29)
    return mixed
