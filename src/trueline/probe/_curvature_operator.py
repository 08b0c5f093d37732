"""What the matrices of second derivatives of a loss in the weights share: the weights, the chunks and the products."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Shaped
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from trueline.contracts import (
    check_samples,
    chunks,
    class_values,
    import_optional,
    left_as_found,
    run_logits,
    unknown_name,
)
from trueline.probe._plain_batch_norm import PlainBatchNorm

Loss = str | Callable[[Tensor, Tensor], Tensor]
KEPT = 2 * 1024**3  # bytes


class Linearised(NamedTuple):
    """The second derivatives of the loss of some samples, ready to be multiplied.

    Args:
        product: takes and returns one tensor for each parameter; None where the product is zero.
        ends: what the graph hangs on, for its size.
        gradient: of the loss, one tensor for each parameter, where it is had on the way; None where it is zero.
        loss: itself, where it is had on the way.
    """

    product: Callable[[list[Tensor]], Sequence[Tensor | None]]
    ends: list[Tensor]
    gradient: Sequence[Tensor | None] = ()
    loss: float = 0.0


class CurvatureOperator(ABC):
    """A symmetric matrix of second derivatives of the mean loss in the weights, known by its products with vectors.

    A copy of the weights and buffers is taken: training the model further does not change the matrix. Samples are
    summed in a fixed order and in float64, so that the same product gives the same bits; inside a chunk the arithmetic
    is that of the model's dtype. See the subclasses for the arguments.

    Attributes:
        shape: (P, P) with P the number of weights.
        names: of the parameters, in the order in which their entries stand in a vector.
        sizes: number of entries of each.
        samples: N.
        device: where products are computed.
        gradient: (P,) of the mean loss, float64, of the Hessian; else None.
        loss: the mean loss, of the Hessian; else 0.
        passes: passes of a sample through the model so far, forward or backward.
    """

    name = "curvature"
    """What the matrix is called in results."""

    def __init__(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "N *shape"],
        labels: Shaped[Tensor, "N *target"],
        *,
        loss: Loss = "cross_entropy",
        parameters: Sequence[str] | None = None,
        chunk_size: int | None = None,
        keep_bytes: int = KEPT,
    ) -> None:
        check_samples(model, inputs, None, chunk_size)
        if len(labels) != len(inputs):
            raise ValueError(f"labels must have {len(inputs)} rows to match the inputs, got {tuple(labels.shape)}")
        if keep_bytes < 0:
            raise ValueError(f"keep_bytes must not be negative, got {keep_bytes}; 0 keeps no graph")
        self._loss = _per_sample_loss(loss)
        weights = chosen_parameters(model, parameters)
        with torch.inference_mode(mode=False):
            self._weights = {name: value.detach().clone().requires_grad_() for name, value in weights.items()}
            # Weights outside the block are constants, as are the buffers.
            others = {name: value.detach().clone() for name, value in model.named_parameters() if name not in weights}
            buffers = {name: value.detach().clone() for name, value in model.named_buffers()}
        self._model, self._constants = model, others | buffers
        self.names = tuple(weights)
        self.sizes = tuple(value.numel() for value in weights.values())
        self.shape = (sum(self.sizes), sum(self.sizes))
        self.samples = len(inputs)
        self.device = inputs.device
        self.gradient: Tensor | None = None
        self.loss = 0.0
        self.passes = 0
        self._chunks = [(rows, wanted) for _, (rows, wanted) in chunks(chunk_size, inputs.detach(), labels)]
        self._kept: list[Linearised | None] = []
        left = keep_bytes
        for rows, wanted in self._chunks:
            assert rows is not None
            assert wanted is not None
            built = self._built(rows, wanted)
            if built.gradient:
                mine = self._joined(built.gradient)
                self.gradient = mine if self.gradient is None else self.gradient + mine
                self.loss += built.loss
            size = _graph_bytes(built.ends)
            self._kept.append(built if size <= left else None)
            left -= size if size <= left else 0

    @abstractmethod
    def _linearise(self, outputs: Tensor, labels: Tensor, weights: list[Tensor]) -> Linearised:
        """Return the products of the samples of a chunk, whose loss is divided by the number of all samples."""

    def matvec(
        self, vector: Float[Tensor, " P"] | NDArray[np.floating[Any]]
    ) -> Float[Tensor, " P"] | NDArray[np.float64]:
        """Return the product with a vector, float64; a NumPy array for a NumPy array.

        Args:
            vector: (P,) or (P, 1).

        Raises:
            ValueError: if the shape does not fit.
        """
        if isinstance(vector, np.ndarray):
            product: NDArray[np.float64] = self.matmat(torch.from_numpy(vector.reshape(-1, 1))).cpu().numpy()
            return product.reshape(vector.shape)
        return self.matmat(vector.reshape(-1, 1)).reshape(vector.shape)

    def matmat(self, vectors: Float[Tensor, "P K"]) -> Float[Tensor, "P K"]:
        """Return the products with the columns, float64, one after another over each chunk's graph.

        Args:
            vectors: (P, K).

        Raises:
            ValueError: if the shape does not fit.
        """
        if vectors.ndim != 2 or len(vectors) != self.shape[1]:
            raise ValueError(f"vectors must have {self.shape[1]} rows, one a weight, got {tuple(vectors.shape)}")
        total = torch.zeros(vectors.shape, dtype=torch.float64, device=self.device)
        given = vectors.detach().to(self.device)
        for place, (rows, wanted) in enumerate(self._chunks):
            assert rows is not None
            assert wanted is not None
            graph = self._kept[place] or self._built(rows, wanted)
            for column in range(vectors.shape[1]):
                parts = graph.product(self._split(given[:, column]))
                total[:, column] += self._joined(parts)
                self.passes += 2 * len(rows)
        return total

    def to_scipy(self) -> Any:
        """Return the matrix as a SciPy ``LinearOperator``, for any of its solvers.

        Raises:
            ImportError: if SciPy is not installed.
        """
        sparse = import_optional("scipy.sparse.linalg", extra="dev", purpose="to_scipy()")
        return sparse.LinearOperator(self.shape, matvec=self.matvec, rmatvec=self.matvec, dtype=np.float64)

    def _built(self, rows: Tensor, labels: Tensor) -> Linearised:
        model = _AtWeights(self._model, self._weights | self._constants)
        with (
            torch.inference_mode(mode=False),
            torch.enable_grad(),
            sdpa_kernel(SDPBackend.MATH),
            left_as_found(self._model),
        ):
            rows = rows.clone() if rows.is_inference() else rows
            with PlainBatchNorm():
                outputs = run_logits(model, rows)
            self.passes += 2 * len(rows)
            return self._linearise(outputs, labels.to(outputs.device), list(self._weights.values()))

    def _split(self, vector: Tensor) -> list[Tensor]:
        parts = torch.split(vector, list(self.sizes))
        weights = self._weights.values()
        return [part.view_as(weight).to(weight.dtype) for part, weight in zip(parts, weights, strict=True)]

    def _joined(self, parts: Sequence[Tensor | None]) -> Tensor:
        weights = self._weights.values()
        flat = [
            weight.new_zeros(weight.numel(), dtype=torch.float64) if part is None else part.detach().flatten().double()
            for part, weight in zip(parts, weights, strict=True)
        ]
        return torch.cat(flat)

    def _values(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return the losses of a chunk, each divided by the number of all samples."""
        losses = self._loss(outputs, labels)
        if not isinstance(losses, Tensor) or losses.shape != outputs.shape[:1]:
            came = tuple(losses.shape) if isinstance(losses, Tensor) else type(losses).__name__
            raise ValueError(f"loss must return one value per sample, shape ({len(outputs)},), got {came}")
        return losses.double() / self.samples


def layer_names(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the names of parameters by the module that owns them, in order.

    Args:
        names: of parameters, as ``named_parameters`` gives them.
    """
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(name.rpartition(".")[0], []).append(name)
    return found


class _AtWeights(nn.Module):
    """A model run at weights that are given, with its own left alone."""

    def __init__(self, model: nn.Module, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self._held = (model, tensors)  # in a tuple, so that the model's weights are not its own

    def forward(self, rows: Tensor) -> Any:
        model, tensors = self._held
        return functional_call(model, tensors, (rows,))


def chosen_parameters(model: nn.Module, names: Sequence[str] | None) -> dict[str, Tensor]:
    """Return the parameters that are asked for, in the model's order, or all that are trained.

    Args:
        model: that owns them.
        names: of parameters or modules, or None for all parameters with ``requires_grad``.

    Raises:
        ValueError: if a name is not known, or there are none.
        TypeError: if the names are one text.
    """
    known: dict[str, Tensor] = {name: value for name, value in model.named_parameters() if value.is_floating_point()}
    if names is None:
        found = {name: value for name, value in known.items() if value.requires_grad}
        if not found:
            raise ValueError("the model has no parameter with requires_grad; name those that are wanted in parameters=")
        return found
    if isinstance(names, str):
        raise TypeError(f"parameters must be a list of names, got the text {names!r}; put it in brackets")
    picked: dict[str, Tensor] = {}
    for name in names:
        block = {each: value for each, value in known.items() if each == name or each.startswith(f"{name}.")}
        if not block:
            raise ValueError(unknown_name("parameter or module", name, list(known)))
        picked |= block
    if not picked:
        raise ValueError("parameters must name at least one parameter or module, or be None for all")
    return {name: value for name, value in known.items() if name in picked}


def _per_sample_loss(loss: Loss) -> Callable[[Tensor, Tensor], Tensor]:
    if callable(loss):
        return loss
    if loss == "cross_entropy":
        return lambda outputs, labels: class_values(outputs, labels, "loss")
    if loss == "squared":
        return _half_squared
    raise ValueError(f"loss must be 'cross_entropy', 'squared' or a function, got {loss!r}")


def _half_squared(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return ``½‖f(x) - t‖²`` of each sample; t is the class's unit vector where classes are given."""
    if not targets.is_floating_point():
        single = outputs.numel() == len(outputs)
        targets = targets if single else F.one_hot(targets, outputs.shape[1])
    if targets.numel() != outputs.numel():
        raise ValueError(f"targets must have the outputs' shape {tuple(outputs.shape)}, got {tuple(targets.shape)}")
    return (outputs.double() - targets.reshape(outputs.shape).double()).square().flatten(1).sum(dim=1) / 2


def _graph_bytes(ends: list[Tensor]) -> int:
    """Return the bytes of the tensors that the graph behind some tensors holds on to."""
    storages: dict[int, int] = {}
    seen: set[Any] = set()
    waiting: list[Any] = [end.grad_fn for end in ends]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for name in dir(type(node)):
            if name.startswith("_saved_") or name == "saved_tensors":
                value = getattr(node, name)
                for tensor in value if isinstance(value, list | tuple) else [value]:
                    if isinstance(tensor, Tensor):
                        storage = tensor.untyped_storage()
                        storages[storage.data_ptr()] = storage.nbytes()
        waiting += [before for before, _ in node.next_functions]
    return sum(storages.values())
