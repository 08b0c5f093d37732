"""Small data sets."""

import pytest
import torch
from jaxtyping import config

from trueline.data import Examples, cifar10


@pytest.fixture
def make_examples():
    """Random uint8 images whose first pixel is their position, so that a batch shows where each row came from."""

    def make(size: int = 23, *, classes: int = 3, shape: tuple[int, ...] = (2, 5, 6)) -> Examples:
        images = torch.randint(0, 256, (size, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(size))
        images.view(size, -1)[:, 0] = torch.arange(size)
        labels = torch.arange(size) % classes
        return Examples(images, labels, labels, tuple("abcdefghij"[:classes]), torch.arange(size) + 100)

    return make


@pytest.fixture
def as_users_see_it():
    """Without the suite's annotation checks, so that the library's own message is met."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """A cache that no other run sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRUELINE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))
        yield


@pytest.fixture(scope="session")
def cifar10_shard(shared_data, own_cache):
    """The first 10,000 training images with their worst human labels, and the test images."""
    return cifar10(shared_data / "cifar10", labels="label_worst", shards=(0,))
