"""Draw the linear regions of a small network that has learned two moons, and its decision boundary.

A ReLU network of two inputs cuts the plane into polygons, on each of which it is an affine function. The partition is
exact: nothing is sampled. For networks of images the plane goes through any three of them.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from trueline.probe import slice_partition


def two_moons(count, generator):
    angle = torch.pi * torch.rand(count, generator=generator)
    labels = torch.arange(count) % 2
    moon = torch.stack([angle.cos(), angle.sin()], dim=1)
    other = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], dim=1)
    points = torch.where(labels[:, None] == 0, moon, other)
    return points + 0.12 * torch.randn(count, 2, generator=generator), labels


def main():
    torch.manual_seed(0)
    inputs, labels = two_moons(400, torch.Generator().manual_seed(0))
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(300):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"training accuracy {(model(inputs).argmax(dim=1) == labels).double().mean():.1%}")

    # Three corners of the picture: the plane of two inputs is the input space itself.
    corners = torch.tensor([[-1.5, -1.2], [2.5, -1.2], [-1.5, 1.7]])
    found = slice_partition(model, corners, margin=0)
    print(found)

    path = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/linear-regions.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    found.plot().save(path, inline=True)  # opens offline
    print(f"picture: {path}")


if __name__ == "__main__":
    main()
