"""The Gauss-Newton matrix of the mean loss in the weights, as products with vectors, by Schraudolph (2002)."""

import torch
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.probe._curvature_operator import CurvatureOperator, Linearised


@method(
    Reference(
        authors="Nicol N. Schraudolph",
        title="Fast Curvature Matrix-Vector Products for Second-Order Gradient Descent",
        venue="Neural Computation",
        year=2002,
        doi="10.1162/08997660260028683",
    ),
    cost="a forward and a backward pass once, whose graph is kept; about one and a half gradients a product",
)
class GaussNewton(CurvatureOperator):
    """Multiply by the generalised Gauss-Newton matrix of the mean loss in the weights.

    ``G = (1/N) Σ JᵀBJ`` with J the derivative of a sample's outputs in the weights and B the Hessian of its loss in the
    outputs: the Hessian without the curvature of the network itself. It has no negative eigenvalue where the loss is
    convex in the outputs. For cross-entropy ``B = diag(p) - pp'``, and G is the Fisher information with labels
    drawn from the model, whatever the labels given; for the squared loss ``B = I``.

    ``Jv`` is the derivative of the linear map ``u ↦ Jᵀu``, whose graph is built once and kept, as for
    :class:`LossHessian`.

    Args:
        model: as for :class:`LossHessian`, as are all arguments.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, or targets.
        loss: ``"cross_entropy"``, ``"squared"`` or a function.
        parameters: names of parameters or modules, None for all parameters with ``requires_grad``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        keep_bytes: most memory for kept graphs; it changes the time, not the answer.

    Raises:
        ValueError: as :class:`LossHessian`.
        TypeError: as :class:`LossHessian`.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
        >>> matrix = GaussNewton(model, inputs, torch.zeros(2, 1), loss="squared")
        >>> matrix.matvec(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
        [1.0, 1.0]
    """

    name = "gauss_newton"

    def _linearise(self, outputs: Tensor, labels: Tensor, weights: list[Tensor]) -> Linearised:
        if not outputs.requires_grad:
            raise ValueError(
                "the outputs do not depend on the chosen weights in a differentiable way; look for detach() or "
                "no_grad() in the model's forward"
            )
        point = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self._values(point, labels).sum(), point, create_graph=True)
        probe = torch.zeros_like(outputs, requires_grad=True)
        pulled = torch.autograd.grad(outputs, weights, probe, create_graph=True, allow_unused=True)
        places = [place for place, part in enumerate(pulled) if part is not None and part.requires_grad]
        ends = [part for part in pulled if part is not None and part.requires_grad]

        def product(directions: list[Tensor]) -> tuple[Tensor | None, ...]:
            if not ends or not slope.requires_grad:
                return (None,) * len(weights)
            along = [directions[place] for place in places]
            (moved,) = torch.autograd.grad(ends, probe, along, retain_graph=True)
            (bent,) = torch.autograd.grad(slope, point, moved, retain_graph=True)
            return torch.autograd.grad(outputs, weights, bent, retain_graph=True, allow_unused=True)

        return Linearised(product, [*ends, outputs, slope])
