"""A model that answers queries and keeps no trace of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import left_as_found


class FrozenModel:
    """Logits of a model, checked, and gradients with respect to its inputs alone; made by :func:`frozen`.

    Args:
        model: in evaluation mode, its parameters without gradient.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model

    def logits(self, inputs: Float[Tensor, "B ..."]) -> Float[Tensor, "B C"]:
        """Return the logits, one forward pass.

        Args:
            inputs: (B, ...) with B at least 1.

        Returns:
            (B, C) finite logits.

        Raises:
            ValueError: if what the model returns is not (B, C) with C at least 2, or not finite.
            TypeError: if it is not a tensor in single or double precision.
        """
        with torch.no_grad():
            return _checked(self._model(inputs), len(inputs))

    def ascent(
        self, inputs: Float[Tensor, "B ..."], loss: Callable[[Tensor, Tensor], Tensor], about: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, "B C"], Float[Tensor, " B"], Float[Tensor, "B ..."]]:
        """Return logits, loss, and a positive multiple of the gradient of each sample's loss.

        The loss is taken in double precision, and each sample's gradient with respect to its logits is scaled to a
        largest entry of one before it goes through the network. Directions are what they were, but the gradient of
        a saturated softmax does not vanish on its way.

        Args:
            inputs: (B, ...) with B at least 1.
            loss: from float64 logits (B, C) and ``about`` to one value per sample.
            about: (B,) what the loss needs to know of each sample.

        Returns:
            (B, C) logits, (B,) losses in float64, (B, ...) directions of steepest ascent.

        Raises:
            ValueError: as :meth:`logits`, or if there is no finite gradient.
            TypeError: as :meth:`logits`.
        """
        with torch.inference_mode(mode=False), torch.enable_grad():
            points = inputs.detach().clone().requires_grad_()
            logits = _checked(self._model(points), len(points))
            scores = logits.detach().double().requires_grad_()
            values = loss(scores, about)
            (slope,) = torch.autograd.grad(values.sum(), scores)
            largest = slope.abs().amax(dim=1, keepdim=True)
            slope = (slope / torch.where(largest > 0, largest, 1)).to(logits)
            found = torch.autograd.grad(logits, points, slope, allow_unused=True) if logits.requires_grad else [None]
        if found[0] is None:
            raise ValueError(
                "the model's logits have no gradient with respect to its inputs (is there a detach() or a rounding in "
                "its forward?); square_attack needs none"
            )
        if not found[0].isfinite().all():
            raise ValueError(
                "the gradient of the model with respect to its inputs is not finite; square_attack needs none"
            )
        return logits.detach(), values.detach(), found[0]


@contextmanager
def frozen(model: nn.Module) -> Iterator[FrozenModel]:
    """Put the model in evaluation mode without parameter gradients, and everything back at the end.

    Training flags, gradient flags, buffers and the random states of torch, numpy and Python are put back, also after
    an exception.

    Args:
        model: any module from inputs to logits.

    Yields:
        What the attacks ask.

    Raises:
        TypeError: if the model is not a module.
    """
    with left_as_found(model):
        yield FrozenModel(model)


def _checked(logits: object, samples: int) -> Tensor:
    if not isinstance(logits, Tensor):
        raise TypeError(f"the model must return a tensor of logits (B, C), got {type(logits).__name__}")
    if logits.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"logits must be float32 or float64, got {logits.dtype}; attack model.float() outside of autocast, since "
            "the differences that an attack follows are lost in half precision"
        )
    if logits.ndim != 2 or len(logits) != samples or logits.shape[1] < 2:
        raise ValueError(
            f"the model must return logits of shape ({samples}, C) with C >= 2 for {samples} inputs, "
            f"got {tuple(logits.shape)}; one log-odds z of two classes is the pair of logits [0, z]"
        )
    if not logits.isfinite().all():
        row = int((~logits.isfinite()).any(dim=1).nonzero()[0])
        raise ValueError(f"logits must be finite, but row {row} of the model's output holds {logits[row].tolist()}")
    return logits
