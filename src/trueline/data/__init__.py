"""Data: arrays and images whose every sample keeps its index, splits, label noise, and batches on the device."""

from trueline.data._arrays import arrays
from trueline.data._cifar10 import cifar10
from trueline.data._digits import digits
from trueline.data._examples import Batch, Examples
from trueline.data._hub import hub
from trueline.data._image_folder import image_folder
from trueline.data._load import SOURCES, load
from trueline.data._loader import DatasetLoader, Loader, TensorLoader, make_loader
from trueline.data._noise import CIFAR10_CONFUSIONS, asymmetric_noise, labels_from_file, symmetric_noise
from trueline.data._normalisation import normalisation
from trueline.data._source import Source, Splits
from trueline.data._split import split
from trueline.data._transform import Draws, Transform
from trueline.data._user import user_dataset

__all__ = [  # noqa: RUF022  grouped by what they are
    # records
    "Batch",
    "Draws",
    "Examples",
    "Source",
    "Splits",
    # sources
    "SOURCES",
    "arrays",
    "cifar10",
    "digits",
    "hub",
    "image_folder",
    "load",
    "user_dataset",
    # splits and label noise
    "CIFAR10_CONFUSIONS",
    "asymmetric_noise",
    "labels_from_file",
    "split",
    "symmetric_noise",
    # batches
    "DatasetLoader",
    "Loader",
    "TensorLoader",
    "Transform",
    "make_loader",
    "normalisation",
]
