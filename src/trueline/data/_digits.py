"""Handwritten digits that come with scikit-learn."""

import torch

from trueline.contracts import Reference, import_optional, method
from trueline.data._examples import Examples
from trueline.data._source import Source


@method(
    Reference(
        "Ethem Alpaydin, Cenk Kaynak",
        "Optical Recognition of Handwritten Digits",
        "UCI Machine Learning Repository",
        1998,
        doi="10.24432/C50P49",
    ),
    cost="112 kB of pixels, read from the installed scikit-learn",
)
def digits() -> Source:
    """Return 1,797 handwritten digits of 8 x 8 pixels in 17 grey levels, for experiments that take seconds.

    Returns:
        Training samples (N, 1, 8, 8) with ``value_range`` 16, and no test set.

    Raises:
        ImportError: if scikit-learn is missing.

    Example:
        >>> source = digits()
        >>> len(source.train), source.train.input_shape
        (1797, (1, 8, 8))
    """
    bunch = import_optional("sklearn.datasets", extra="data", purpose="the digits data set").load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)[:, None]
    labels = torch.from_numpy(bunch.target).long()
    names = tuple(str(digit) for digit in range(10))
    return Source(Examples(images, labels, labels, names, torch.arange(len(labels)), value_range=16.0))
