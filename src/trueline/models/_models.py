"""The reference networks by the names that configurations use."""

from collections.abc import Sequence
from typing import Any

from trueline.contracts import Catalogue
from trueline.models._cifar_resnet import resnet8, resnet20, resnet56
from trueline.models._classifier import Classifier
from trueline.models._convnet import ConvNet
from trueline.models._mlp import MLP
from trueline.models._preact_resnet import preact_resnet18
from trueline.models._vit import ViT

MODELS: Catalogue[Classifier] = Catalogue(
    "model",
    {
        "mlp": MLP,
        "convnet": ConvNet,
        "resnet8": resnet8,
        "resnet20": resnet20,
        "resnet56": resnet56,
        "preact_resnet18": preact_resnet18,
        "vit": ViT,
    },
    context=("input_shape", "num_classes"),
)
"""Networks by the name that ``[model]`` of a configuration gives."""


def build(name: str, *, input_shape: Sequence[int], num_classes: int, **options: Any) -> Classifier:
    """Return a freshly initialised network; the weights come from PyTorch's global random state.

    Args:
        name: one of ``MODELS``.
        input_shape: shape of one input, without the batch axis.
        num_classes: C, at least 2.
        **options: what ``MODELS.signature(name)`` lists.

    Returns:
        The network, in training mode on the CPU.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest known one, or a value does not fit.

    Example:
        >>> build("mlp", input_shape=(64,), num_classes=10, hidden=(32,)).feature_dim
        32
    """
    return MODELS.build(name, context={"input_shape": input_shape, "num_classes": num_classes}, options=options)
