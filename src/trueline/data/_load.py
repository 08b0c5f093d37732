"""Data sets by name."""

from trueline.contracts import Catalogue
from trueline.data._arrays import arrays
from trueline.data._cifar10 import cifar10
from trueline.data._digits import digits
from trueline.data._hub import hub
from trueline.data._image_folder import image_folder
from trueline.data._source import Source
from trueline.data._user import user_dataset

SOURCES: Catalogue[Source] = Catalogue(
    "data set",
    {
        "arrays": arrays,
        "cifar10": cifar10,
        "digits": digits,
        "hub": hub,
        "image_folder": image_folder,
        "user": user_dataset,
    },
)
"""Data sets by the name that ``[data]`` of a configuration gives."""


def load(name: str, **options: object) -> Source:
    """Load a data set by the name and options that a configuration gives.

    Args:
        name: a key of ``SOURCES``.
        **options: arguments of that source; ``SOURCES.signature(name)`` lists them.

    Returns:
        Training samples, and test samples if the data set has its own.

    Raises:
        ValueError: if the name or an option is unknown, naming the nearest known one.

    Example:
        >>> len(load("digits").train)
        1797
    """
    return SOURCES.build(name, context={}, options=options)
