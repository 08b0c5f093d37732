"""Predictions as checked blocks of rows."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from trueline.contracts import SUM_TOLERANCE
from trueline.predictions._stored_array import FLOATS, StoredArray

BLOCK = 1 << 22  # entries in a block
_DISGUISED = 1e-4  # closer than this to one, all rows of logits are probabilities

Blocks = Callable[[], Iterator[Float[Tensor, "B C"]]]


def checked_blocks(values: StoredArray, kind: str) -> tuple[Blocks, int]:
    """Check the shape of predictions now, and their values as they stream.

    Args:
        values: (N, C) predictions, or (N,) or (N, 1) of class 1 of two.
        kind: ``"logits"`` or ``"probs"``.

    Returns:
        A function that gives the checked blocks, and the number C of classes.

    Raises:
        ValueError: if the shape does not fit.
        TypeError: if the entries are not floating point.
    """
    _check_shape(values.shape, kind)
    if values.dtype not in FLOATS:
        raise TypeError(
            f"{kind} must be {', '.join(FLOATS[:-1])} or {FLOATS[-1]}, got {values.dtype}; convert them, and undo the "
            "scale if they are quantised"
        )
    classes = 2 if len(values.shape) == 1 else max(2, values.shape[1])

    def blocks() -> Iterator[Tensor]:
        start, disguised = 0, kind == "logits"
        for run in values.runs(max(1, BLOCK // classes)):
            _check_finite(run, kind, start)
            if kind == "probs":
                _check_probs(run, start)
            disguised = disguised and _looks_like_probs(run)
            start += len(run)
            if disguised and start == values.shape[0]:
                raise ValueError(_disguise(run))
            yield _two_columns(run, kind)

    return blocks, classes


def _check_shape(shape: tuple[int, ...], kind: str) -> None:
    if len(shape) not in (1, 2) or 0 in shape[1:]:
        raise ValueError(
            f"{kind} must have shape (N, C), or (N,) for two classes, got {shape}; "
            "give one row per sample and one column per class"
        )


def _check_finite(run: Tensor, kind: str, start: int) -> None:
    low, high = run.aminmax()  # NaN wins both
    if not (low.isfinite() and high.isfinite()):
        finite = run.isfinite().reshape(len(run), -1)
        row = int((~finite).any(dim=1).nonzero()[0])
        culprit = run[row].reshape(-1)[~finite[row]][0].item()
        raise ValueError(
            f"{kind} must be finite, but row {start + row} holds {culprit}; drop such samples, or mend what made them"
        )


def _check_probs(run: Tensor, start: int) -> None:
    rows = run.reshape(len(run), -1)
    single = rows.shape[1] == 1
    total = rows.sum(dim=1, dtype=torch.promote_types(run.dtype, torch.float32))
    low, high = (value.item() for value in run.aminmax())
    if low < 0 or high > 1 + SUM_TOLERANCE:
        row = int(((rows < 0) | (rows > 1 + SUM_TOLERANCE)).any(dim=1).nonzero()[0])
        percent = low >= 0 and (high <= 100 if single else bool((total - 100).abs().max() <= 100 * SUM_TOLERANCE))
        hint = "if these are logits, pass logits="
        if percent:
            hint = "if these are percentages, divide by 100" if single else "rows sum to 100: divide percentages by 100"
        culprit = rows[row][(rows[row] < 0) | (rows[row] > 1 + SUM_TOLERANCE)][0].item()
        raise ValueError(f"probs must lie in [0, 1], but row {start + row} holds {culprit:.4g}; {hint}")
    miss = (total - 1).abs()
    if not single and miss.max() > SUM_TOLERANCE:
        row = int((miss > SUM_TOLERANCE).nonzero()[0])
        hint = "normalise the rows, or pass logits= if these are unnormalised scores"
        if run.dtype == torch.bfloat16:
            hint = "bfloat16 is too coarse, compute the softmax in float32 or pass logits="
        raise ValueError(f"each row of probs must sum to 1, but row {start + row} sums to {total[row]:.6g}; {hint}")


def _looks_like_probs(run: Tensor) -> bool:
    if run.ndim == 1 or run.shape[1] == 1:
        return bool(run.amin() >= 0 and run.amax() <= 1)
    tolerance = _DISGUISED if run.dtype in (torch.float32, torch.float64) else SUM_TOLERANCE
    if run[0].amin() < 0 or (run[0].double().sum() - 1).abs() > tolerance:  # one row settles it for real logits
        return False
    return bool(run.amin() >= 0 and ((run.sum(dim=1, dtype=torch.float64) - 1).abs() <= tolerance).all())


def _disguise(run: Tensor) -> str:
    if run.ndim == 1 or run.shape[1] == 1:
        return (
            "logits of class 1 all lie in [0, 1], so these are probabilities, pass probs=; if they are log-odds after "
            "all, give both columns, zeros and them"
        )
    return "logits are at least zero and sum to one in every row: these are probabilities, pass probs="


def _two_columns(run: Tensor, kind: str) -> Tensor:
    if run.ndim == 2 and run.shape[1] > 1:
        return run
    column = run.reshape(-1)
    if kind == "logits":
        return torch.stack([torch.zeros_like(column), column], dim=1)
    one = column.clamp_max(1)
    return torch.stack([1 - one, one], dim=1)
