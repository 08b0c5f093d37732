"""Fixtures shared by every test."""

import os
from pathlib import Path

import pytest
import torch


@pytest.fixture
def generator() -> torch.Generator:
    """A fresh generator, so that no test depends on another's draws."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and trained weights, which is never part of the repository."""
    folder = Path(os.environ.get("TRUELINE_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs the shared data folder; set TRUELINE_DATA ({folder} does not exist)")
    return folder
