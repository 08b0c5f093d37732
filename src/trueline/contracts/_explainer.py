"""What every attribution method is: settings that turn a model and its inputs into one map for each input."""

from abc import ABC, abstractmethod
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor, nn


class Explainer(ABC):
    """An attribution method without a model.

    A subclass is a frozen dataclass of its settings. It knows no model, so that the same object explains a network, its
    steered twin and the smooth surrogate that an attack follows. Where it draws random numbers, a setting ``seed``
    fixes them, and they are the same for every sample: a map depends neither on the other samples nor on chunks.

    :func:`trueline.explain.attribute` calls it, and so does whatever compares explanations; each has then checked the
    inputs, chosen the class from the clean prediction, put the model in evaluation mode and enabled gradients.
    """

    differentiable: ClassVar[bool] = False
    """Whether maps carry a gradient in the inputs where asked for; otherwise the method is a black box to attacks."""

    @abstractmethod
    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *map"]:
        """Return the attributions of some samples.

        Args:
            model: in evaluation mode, from inputs to logits (B, C), or (B,) or (B, 1) log-odds of class 1 of two.
            inputs: (B, ...) floating point; where ``create_graph``, they may require a gradient.
            target: (B,) the class that is explained.
            create_graph: keep the graph, so that the maps can be differentiated in ``inputs``; only where
                ``differentiable``.

        Returns:
            (B, ...) the shape of the inputs, or (B, H, W) where the method does not tell channels apart.
        """
