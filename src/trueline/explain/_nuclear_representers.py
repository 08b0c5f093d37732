"""Predictions of a low-rank model of ratings as sums over the ratings it was trained on, by Tsai et al. (2023)."""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.explain._representers import (
    Representers,
    SampleLoss,
    check_options,
    check_stationary,
    gather,
    loss_slope,
    read_matrix,
    read_truth,
)

_NEGLIGIBLE = 1e-12  # singular values below this share of the largest are rounding


@method(
    Reference(
        authors="Che-Ping Tsai, Jiong Zhang, Eli Chien, Hsiang-Fu Yu, Cho-Jui Hsieh, Pradeep Ravikumar",
        title="Representer Point Selection for Explaining Regularized High-dimensional Models",
        venue="ICML",
        year=2023,
        arxiv="2305.20002",
    ),
    cost="a singular value decomposition, and N + R·k multiply-adds a test point for R rows and rank k",
)
def nuclear_representers(
    rows: Int64[Tensor, " N"],
    columns: Int64[Tensor, " N"],
    ratings: Float[Tensor, " N"],
    test_rows: Int64[Tensor, " M"],
    test_columns: Int64[Tensor, " M"],
    *,
    theta: Float[Tensor, "R Q"] | None = None,
    factors: tuple[Float[Tensor, "R k"], Float[Tensor, "Q k"]] | None = None,
    strength: float,
    loss: SampleLoss = "squared",
    view: Literal["rows", "columns", "both"] = "both",
    top: int = 5,
    keep_all: bool = False,
    tolerance: float = 1e-4,
    chunk_size: int | None = None,
) -> Representers:
    """Return entries of a low-rank matrix as sums over the entries it was fitted to, such as ratings of users of items.

    The matrix minimises ``1/n·Σ_i ℓ(y_i, Θ[r_i, c_i]) + λ‖Θ‖_*``. With ``Θ = USVᵀ`` and ``e_r e_cᵀ`` the matrix that is
    1 at one entry, ``u = -1/(n·λ)·Σ_i ℓ'_i e_{r_i} e_{c_i}ᵀ`` is ``UVᵀ + W`` at the minimum, where ``UᵀW = 0``,
    ``WV = 0`` and ``‖W‖₂ <= 1``. Hence ``Θ = USUᵀu = u·VSVᵀ``, and an entry has two exact sums: over the ratings of the
    same column with the similarity ``(USUᵀ)[r', r_i]`` (which other users, rating this item, made the prediction), and
    over those of the same row with ``(VSVᵀ)[c', c_i]`` (which other items that this user rated). The mean of both is
    exact too. The logistic loss has ``ℓ' = σ(f) - y``, the squared one ``(y - f)²/2`` has ``ℓ' = f - y``.

    Factors ``Θ = ABᵀ`` fitted with the penalty ``λ/2·(‖A‖² + ‖B‖²)``, PyTorch's ``weight_decay`` of both, have the same
    sums with the same λ, and already at any stationary point of theirs.

    Args:
        rows: (N,) the row of each rating, int64, from 0.
        columns: (N,) its column, int64, from 0.
        ratings: (N,) its value; 0 and 1 or probabilities for the logistic loss. What a model adds to ``Θ``, such as
            the mean rating, has to be subtracted first.
        test_rows: (M,) rows of the entries to explain.
        test_columns: (M,) their columns.
        theta: (R, Q) the matrix; or None.
        factors: (R, k) and (Q, k); or None. One of the two is given.
        strength: λ, above 0.
        loss: ``"squared"`` or ``"logistic"``, whose entries are log-odds of 1.
        view: ``"rows"`` sums over other rows of the same column, ``"columns"`` over other columns of the same row,
            ``"both"`` is half of each, with half the sum of the similarities that apply.
        top: ratings to keep on either side, at least 1.
        keep_all: whether to keep all N·M contributions.
        tolerance: largest residual that is accepted: ``‖S(Uᵀu - Vᵀ)‖`` or ``‖(uV - U)S‖`` relative to ``‖S‖``, and for
            ``theta`` also ``‖W‖₂ - 1``. Sums miss predictions by at most ``residual·‖Θ‖``.
        chunk_size: test entries at once, None for 16 million contributions; it changes the memory, not the answer.

    Returns:
        The record, float64 on the CPU.

    Raises:
        ValueError: if the matrix is no minimum, the factors are not stationary, or an argument is out of range.
        TypeError: if a dtype is wrong.

    Example:
        >>> here = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
        >>> theta = torch.full((2, 2), 2.0)  # all ratings are 3: the singular value 6 is shrunk by n·λ = 2
        >>> test = torch.tensor([0]), torch.tensor([0])
        >>> found = nuclear_representers(
        ...     *here, torch.full((4,), 3.0), *test, theta=theta, strength=0.5, view="rows", keep_all=True
        ... )
        >>> [round(value, 6) for value in found.contributions[0].tolist()]
        [1.0, 0.0, 1.0, 0.0]
    """
    check_options(top, chunk_size, tolerance, strength=strength)
    if view not in ("rows", "columns", "both"):
        raise ValueError(f"view must be 'rows', 'columns' or 'both', got {view!r}")
    spectrum = _spectrum(theta, factors)
    sizes = len(spectrum.left), len(spectrum.right)
    truth = read_truth(ratings, len(rows), "ratings", loss)
    _check_places(rows, columns, sizes, "rows", "columns")
    _check_places(test_rows, test_columns, sizes, "test_rows", "test_columns")
    pulls = -loss_slope(spectrum.entries(rows, columns), truth, loss) / (len(rows) * strength)
    residual = _residual(spectrum, rows, columns, pulls, whole=theta is not None)
    check_stationary(
        residual,
        tolerance,
        "fit with a smaller tolerance, and check that strength is λ of the mean over ratings (for factors, the "
        "weight_decay of both)",
    )
    left, right = (part * spectrum.values.sqrt() for part in (spectrum.left, spectrum.right))

    def contributions(first: int, last: int) -> Tensor:
        similarity = pulls.new_zeros(last - first, len(rows))
        for name, side, mine, others, at, across in (
            ("rows", left, test_rows, rows, test_columns, columns),
            ("columns", right, test_columns, columns, test_rows, rows),
        ):
            if view in (name, "both"):
                alike = (side[mine[first:last]] @ side.T)[:, others]
                similarity += alike.masked_fill_(at[first:last, None] != across, 0)
        return similarity.mul_(pulls / 2 if view == "both" else pulls)

    return gather(
        contributions,
        spectrum.entries(test_rows, test_columns),
        torch.zeros(len(test_rows), dtype=torch.float64),
        torch.zeros(len(test_rows), dtype=torch.int64),
        (pulls / 2 if view == "both" else pulls)[:, None],
        residual=residual,
        penalty="nuclear-norm",
        top=top,
        keep_all=keep_all,
        chunk_size=chunk_size,
    )


class _Spectrum(NamedTuple):
    """A matrix as ``left·diag(values)·rightᵀ``, without what is zero."""

    left: Tensor
    values: Tensor
    right: Tensor

    def entries(self, rows: Tensor, columns: Tensor) -> Tensor:
        return (self.left[rows] * self.values * self.right[columns]).sum(dim=1)


def _spectrum(theta: Tensor | None, factors: tuple[Tensor, Tensor] | None) -> _Spectrum:
    if (theta is None) == (factors is None):
        raise ValueError(f"expected exactly one of theta= and factors=, got {'neither' if theta is None else 'both'}")
    if theta is not None:
        left, values, right = torch.linalg.svd(read_matrix(theta, "theta"), full_matrices=False)
    else:
        assert factors is not None
        first = read_matrix(factors[0], "factors[0]")
        second = read_matrix(factors[1], "factors[1]", first.shape[1])
        (first, inner), (second, outer) = torch.linalg.qr(first), torch.linalg.qr(second)
        left, values, right = torch.linalg.svd(inner @ outer.T, full_matrices=False)
        left, right = first @ left, right @ second.T
    kept = values > _NEGLIGIBLE * values.max()
    return _Spectrum(left[:, kept], values[kept], right[kept].T)


def _residual(spectrum: _Spectrum, rows: Tensor, columns: Tensor, pulls: Tensor, *, whole: bool) -> float:
    """Return by how much the matrix misses the conditions of a minimum; without ``whole``, of a stationary point."""
    left, values, right = spectrum
    to_left = torch.zeros_like(left).index_add_(0, rows, pulls[:, None] * right[columns])
    to_right = torch.zeros_like(right).index_add_(0, columns, pulls[:, None] * left[rows])
    size = values.norm().item()
    misses = [((part - wanted) * values).norm().item() for part, wanted in ((to_left, left), (to_right, right))]
    residual = max(misses) / size if size > 0 else 0.0
    if whole:
        rest = pulls.new_zeros(len(left), len(right)).index_put_((rows, columns), pulls, accumulate=True)
        rest -= left @ (left.T @ rest)
        rest -= (rest @ right) @ right.T
        residual = max(residual, torch.linalg.matrix_norm(rest, 2).item() - 1)
    return residual


def _check_places(rows: Tensor, columns: Tensor, sizes: tuple[int, int], *names: str) -> None:
    if len(rows) != len(columns) or len(rows) == 0:
        raise ValueError(
            f"{names[0]} and {names[1]} must have the same length, at least 1, got {len(rows)} and {len(columns)}"
        )
    for places, size, name in zip((rows, columns), sizes, names, strict=True):
        low, high = (int(value) for value in places.aminmax())
        if low < 0 or high >= size:
            raise ValueError(f"{name} must lie in [0, {size - 1}], got values from {low} to {high}")
