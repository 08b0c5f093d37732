"""The Hessian of the mean loss in the weights, as products with vectors, by Pearlmutter (1994)."""

import torch
from torch import Tensor

from trueline.contracts import Reference, method
from trueline.probe._curvature_operator import CurvatureOperator, Linearised
from trueline.probe._derivative_norms import check_twice_differentiable


@method(
    Reference(
        authors="Barak A. Pearlmutter",
        title="Fast Exact Multiplication by the Hessian",
        venue="Neural Computation",
        year=1994,
        doi="10.1162/neco.1994.6.1.147",
    ),
    cost="a gradient once, whose graph is kept; about two gradients a product",
)
class LossHessian(CurvatureOperator):
    """Multiply by the Hessian of the mean loss in the weights.

    ``H = (1/N) Σ ∇²_θ ℓ(f_θ(x), y)``, in evaluation mode, so that samples do not depend on each other. The reduction is
    the mean: a sum is N times that. Weight decay is not in it; a penalty ``(λ/2)‖θ‖²`` adds λ to every eigenvalue. The
    second derivative of ReLU counts as 0.

    The gradient is differentiated again along the vector. Its graph is built once and kept, so that a product is
    one backward pass through it; graphs that do not fit in ``keep_bytes`` are built anew for every product.

    Args:
        model: any module that can be differentiated twice, from inputs to logits (N, C), or (N,) or (N, 1) log-odds of
            class 1 of two, or any outputs where the loss is a function or squared. It is run in evaluation mode and
            left as found.
        inputs: (N, ...) floating point, on the model's device.
        labels: (N,) class numbers, int64; for ``"squared"`` also targets of the outputs' shape; whatever a function
            of the caller's takes.
        loss: ``"cross_entropy"`` in nats; ``"squared"``, ``½‖f - t‖²`` with t the target or the class's unit vector; or
            a function of outputs and labels that returns one value per sample.
        parameters: names of parameters or modules whose block of the matrix is wanted, such as ``["head"]``; None for
            all parameters with ``requires_grad``.
        chunk_size: samples at once, None for all; it changes the memory, not the answer.
        keep_bytes: most memory for kept graphs; it changes the time, not the answer.

    Raises:
        ValueError: if an argument is out of range, a name is not known, logits are not finite, the loss does not
            depend on the weights, or a batch-norm layer has no running statistics.
        TypeError: if a dtype is wrong or the model is not a module that returns a tensor.

    Example:
        >>> model = torch.nn.Linear(2, 1, bias=False)
        >>> inputs = torch.tensor([[1.0, 0.0], [1.0, 2.0]])
        >>> hessian = LossHessian(model, inputs, torch.zeros(2, 1), loss="squared")  # XᵀX / N
        >>> hessian.matvec(torch.tensor([1.0, 0.0], dtype=torch.float64)).tolist()
        [1.0, 1.0]
    """

    name = "hessian"

    def _linearise(self, outputs: Tensor, labels: Tensor, weights: list[Tensor]) -> Linearised:
        total = self._values(outputs, labels).sum()
        found = torch.autograd.grad(total, weights, create_graph=True, allow_unused=True) if total.requires_grad else ()
        if all(part is None for part in found):
            raise ValueError(
                "the loss does not depend on the chosen weights in a differentiable way; look for detach() or "
                "no_grad() in the model's forward"
            )
        gradient = [part for part in found if part is not None]
        for part in gradient:
            check_twice_differentiable(part)
        ends = [part for part in gradient if part.requires_grad]
        places = [place for place, part in enumerate(found) if part is not None and part.requires_grad]

        def product(directions: list[Tensor]) -> tuple[Tensor | None, ...]:
            if not ends:  # the loss is linear in the weights
                return (None,) * len(weights)
            along = [directions[place] for place in places]
            return torch.autograd.grad(ends, weights, along, retain_graph=True, allow_unused=True)

        return Linearised(product, ends, found, float(total.detach()))
