"""The Lanczos iteration: eigenvalues and densities of symmetric matrices that are known by their products alone."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

_NOTHING = 1e-13  # length beyond the space, relative to the product, that is rounding in double precision
_FIRST_SIZE = 16


class KrylovSpace:
    """Orthonormal bases of the spaces ``u, Hu, H²u, ...`` of B symmetric matrices, grown one product at a time.

    Seen in its space, a matrix is small, and its eigenvalues there, the Ritz values, lie within its own. The pair of
    Ritz value θ and vector s has the residual ``‖Hv - θv‖ = β·|s_last|``, with β the length that the last product has
    beyond the space. Every product is made orthogonal to all directions before it, twice, so that no eigenvalue is
    found again by rounding.

    Args:
        start: (B, D) float64, the first directions, of any length above zero.

    Example:
        >>> matrix = torch.diag(torch.tensor([5.0, 1.0, -2.0], dtype=torch.float64))
        >>> space = KrylovSpace(torch.ones(1, 3, dtype=torch.float64))
        >>> for _ in range(3):
        ...     space.grow(space.direction @ matrix)
        >>> [round(value, 6) for value in space.ritz()[0][0].tolist()]
        [-2.0, 1.0, 5.0]
    """

    def __init__(self, start: Float[Tensor, "B D"]) -> None:
        self.size = 0
        self.inside = start.new_zeros(len(start), 0, 0)
        self.beyond = torch.linalg.vector_norm(start, dim=1)
        self._basis = start.new_zeros(len(start), _FIRST_SIZE, start.shape[1])
        self._next = _scaled(start, self.beyond)

    @property
    def direction(self) -> Float[Tensor, "B D"]:
        """What to multiply next: of length one, or zeros where the space holds all that the start can reach."""
        return self._next

    @property
    def basis(self) -> Float[Tensor, "B K D"]:
        """The directions that have been multiplied."""
        return self._basis[:, : self.size]

    def grow(self, product: Float[Tensor, "B D"]) -> None:
        """Take in the product of the matrices with :attr:`direction`.

        Args:
            product: (B, D) float64.
        """
        if self.size == self._basis.shape[1]:
            self._basis = torch.cat([self._basis, torch.zeros_like(self._basis)], dim=1)
        self._basis[:, self.size] = self._next
        self.size += 1
        along = product.new_zeros(len(product), self.size)
        rest = product
        for _ in range(2):
            part = torch.einsum("bkd,bd->bk", self.basis, rest)
            rest = rest - torch.einsum("bkd,bk->bd", self.basis, part)
            along = along + part
        wide = torch.cat([self.inside, along[:, :-1, None]], dim=2)
        self.inside = torch.cat([wide, along[:, None]], dim=1)
        beyond = torch.linalg.vector_norm(rest, dim=1)
        spent = beyond <= _NOTHING * torch.linalg.vector_norm(self.inside, dim=(1, 2))
        self.beyond = torch.where(spent, 0, beyond)
        self._next = _scaled(torch.where(spent.unsqueeze(1), 0, rest), self.beyond)

    def restart(self, direction: Float[Tensor, "B D"]) -> None:
        """Go on in another direction once the space holds all that the start can reach.

        Args:
            direction: (B, D) float64, such as a random one; what of it lies beyond the space is taken.
        """
        for _ in range(2):
            part = torch.einsum("bkd,bd->bk", self.basis, direction)
            direction = direction - torch.einsum("bkd,bk->bd", self.basis, part)
        self._next = _scaled(direction, torch.linalg.vector_norm(direction, dim=1))

    def ritz(self) -> tuple[Float[Tensor, "B K"], Float[Tensor, "B K K"], Float[Tensor, "B K"]]:
        """Return Ritz values in ascending order, their vectors in the basis as columns, and their residuals."""
        values, vectors = torch.linalg.eigh(self.inside)
        return values, vectors, self.beyond[:, None] * vectors[:, -1].abs()


class EigenPairs(NamedTuple):
    """Eigenvalues at one end of a spectrum, the outermost first.

    Attributes:
        values: (K,) Rayleigh quotients of the vectors.
        vectors: (K, D) of length one.
        residuals: (K,) measured ``‖Hv - λv‖``; some eigenvalue lies within that distance of each value.
        converged: (K,) whether the residual is at most the tolerance times ``|λ|``.
        products: products with the matrix.
    """

    values: Float[Tensor, " K"]
    vectors: Float[Tensor, "K D"]
    residuals: Float[Tensor, " K"]
    converged: Bool[Tensor, " K"]
    products: int


def lanczos_eigenpairs(
    matvec: Callable[[Float[Tensor, " D"]], Float[Tensor, " D"]],
    start: Float[Tensor, " D"],
    *,
    k: int = 1,
    which: Literal["largest", "smallest"] = "largest",
    tolerance: float = 1e-3,
    iterations: int = 100,
    generator: torch.Generator | None = None,
) -> EigenPairs:
    """Return the algebraically largest or smallest eigenvalues of a symmetric matrix, with measured residuals.

    The space grows until the residuals of all ``k`` pairs are at most ``tolerance * |λ|``. One more product for each
    pair then measures the residual of its vector, so that the error does not rest on the recurrence. A random start has
    a part along every eigenvector, but a copy of a multiple eigenvalue comes late: several equal values among the
    ``k`` may be missed.

    Args:
        matvec: the product with a float64 vector.
        start: (D,) float64, a random direction.
        k: number of eigenvalues, from 1 to D.
        which: ``"largest"`` or ``"smallest"``, with their signs.
        tolerance: see above, above 0.
        iterations: most products before the residuals are measured, at least ``k``.
        generator: draws further directions where the start reaches too little; None for one seeded with 0.

    Returns:
        The pairs; those not converged say so.

    Raises:
        ValueError: if an argument is out of range or a product is not finite.

    Cost:
        The directions, 8·D bytes each, are kept; reorthogonalising K of them takes 8·K·D multiply-adds a product.

    Example:
        >>> diagonal = torch.tensor([1.0, 3.0, -7.0], dtype=torch.float64)
        >>> pairs = lanczos_eigenpairs(lambda v: diagonal * v, torch.ones(3, dtype=torch.float64))
        >>> round(pairs.values.item(), 6), bool(pairs.converged)
        (3.0, True)
    """
    dimension = len(start)
    if which not in ("largest", "smallest"):
        raise ValueError(f"which must be 'largest' or 'smallest', got {which!r}")
    if not 1 <= k <= dimension:
        raise ValueError(f"k must lie in [1, {dimension}], the size of the matrix, got {k}")
    if iterations < k:
        raise ValueError(f"iterations must be at least k = {k}, got {iterations}")
    if not tolerance > 0:
        raise ValueError(f"tolerance must be above 0, got {tolerance}")
    if not float(start.norm()) > 0:
        raise ValueError("start must be a direction of finite length above 0; draw it at random")
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    space = KrylovSpace(start.double().unsqueeze(0))
    while True:
        space.grow(_product(matvec, space.direction[0]).unsqueeze(0))
        values, inside, residuals = (part[0] for part in space.ritz())
        order = torch.arange(space.size, device=values.device)
        chosen = (order.flip(0) if which == "largest" else order)[:k]
        done = space.size >= k and bool((residuals[chosen] <= tolerance * values[chosen].abs()).all())
        if done or space.size >= min(iterations, dimension):
            break
        if float(space.beyond) == 0:
            fresh = torch.randn(dimension, generator=generator, device=generator.device, dtype=torch.float64)
            space.restart(fresh.to(start.device).unsqueeze(0))
    vectors = inside[:, chosen].T @ space.basis[0]
    images = torch.stack([_product(matvec, vector) for vector in vectors])
    found = (vectors * images).sum(dim=1)
    errors = torch.linalg.vector_norm(images - found[:, None] * vectors, dim=1)
    return EigenPairs(found, vectors, errors, errors <= tolerance * found.abs(), space.size + k)


def lanczos_quadrature(
    matvec: Callable[[Float[Tensor, " D"]], Float[Tensor, " D"]], start: Float[Tensor, " D"], *, steps: int
) -> tuple[Float[Tensor, " M"], Float[Tensor, " M"]]:
    """Return the nodes and weights of the Gauss quadrature of ``uᵀf(H)u`` for the unit vector u along ``start``.

    ``uᵀf(H)u = Σ_m w_m·f(θ_m)``, exact for polynomials f of degree ``2·steps - 1``: θ are the Ritz values, w the
    squared first entries of their vectors.

    Args:
        matvec: the product of the symmetric matrix with a float64 vector.
        start: (D,) float64, of length above zero.
        steps: products, at least 1.

    Returns:
        Nodes in ascending order and weights that add up to 1; fewer than ``steps`` where the start reaches no more.

    Raises:
        ValueError: if ``steps`` is below 1, the start is zero or a product is not finite.

    Example:
        >>> diagonal = torch.tensor([1.0, 3.0], dtype=torch.float64)
        >>> nodes, weights = lanczos_quadrature(lambda v: diagonal * v, torch.ones(2, dtype=torch.float64), steps=5)
        >>> [round(value, 6) for value in (*nodes.tolist(), *weights.tolist())]
        [1.0, 3.0, 0.5, 0.5]
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if not float(start.norm()) > 0:
        raise ValueError("start must be a direction of finite length above 0; draw it at random")
    space = KrylovSpace(start.double().unsqueeze(0))
    for _ in range(min(steps, len(start))):
        space.grow(_product(matvec, space.direction[0]).unsqueeze(0))
        if float(space.beyond) == 0:
            break
    values, vectors, _ = space.ritz()
    return values[0], vectors[0, 0].square()


def _product(matvec: Callable[[Tensor], Tensor], vector: Tensor) -> Tensor:
    """Return a product after checking that it is one."""
    product = matvec(vector)
    if product.shape != vector.shape:
        raise ValueError(f"the product must have shape {tuple(vector.shape)}, got {tuple(product.shape)}")
    if not product.isfinite().all():
        raise ValueError("a product with the matrix is not finite; look for overflow in what defines it")
    return product.double()


def _scaled(rows: Tensor, lengths: Tensor) -> Tensor:
    """Return the rows with length one; rows of zeros stay."""
    return rows / torch.where(lengths > 0, lengths, 1).unsqueeze(1)
