"""A small network that has learned digits, to be attacked."""

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(scope="session")
def digits_network() -> tuple[nn.Module, Tensor, Tensor]:
    """A network of two layers trained on the first 1,400 digits, and the other 397 with their labels."""
    bunch = pytest.importorskip("sklearn.datasets").load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target).long()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        loss = nn.functional.cross_entropy(model(images[:1400]), labels[:1400])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.zero_grad()
    return model, images[1400:], labels[1400:]
