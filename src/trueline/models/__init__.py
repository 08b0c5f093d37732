"""Small reference networks; each one is ``features``, then one linear layer called ``classifier``.

``build("resnet20", input_shape=(3, 32, 32), num_classes=10)`` makes one by name; ``MODELS`` lists the names. Any other
``nn.Module`` from inputs to logits trains just as well; only ``WithProjection`` asks for features.
"""

from trueline.models._cifar_resnet import CifarResNet, resnet8, resnet20, resnet56
from trueline.models._classifier import Classifier
from trueline.models._convnet import ConvNet
from trueline.models._kernel_attention import KernelAttention
from trueline.models._mlp import MLP
from trueline.models._models import MODELS, build
from trueline.models._normalized import Normalized
from trueline.models._preact_resnet import PreActResNet, preact_resnet18
from trueline.models._projection import WithProjection
from trueline.models._vit import SelfAttention, ViT

__all__ = [
    "MLP",
    "MODELS",
    "CifarResNet",
    "Classifier",
    "ConvNet",
    "KernelAttention",
    "Normalized",
    "PreActResNet",
    "SelfAttention",
    "ViT",
    "WithProjection",
    "build",
    "preact_resnet18",
    "resnet8",
    "resnet20",
    "resnet56",
]
