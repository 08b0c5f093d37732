"""Train on a data set of your own through a configuration, and write the report.

The configuration names the function that makes the data sets, ``"your_own_dataset:make_datasets"``: this file's name
and the function in it. Its folder must be where Python looks for modules. That is so when the file is run as a script;
for ``trueline train`` say ``PYTHONPATH=examples trueline train ...``.
"""

import sys
from pathlib import Path

import torch
from torch.utils.data import Dataset

from trueline.report import write_report
from trueline.train import RunConfig, train

CONFIG = {
    "name": "rings",
    "data": {"name": "user", "factory": "your_own_dataset:make_datasets"},
    "model": {"name": "mlp", "hidden": [64, 64]},
    "objective": {"name": "cross_entropy"},
    "optimizer": {"name": "adamw", "learning_rate": 0.01},
    "training": {"epochs": 20, "batch_size": 100, "device": "cpu"},
}


class Rings(Dataset):
    """Points of the plane on three noisy rings; the class is the ring.

    Trueline asks for ``len()`` and ``[i]``, a pair of input and class number. ``classes`` and ``targets`` are optional:
    names for the report, and labels that can be read without making every input.
    """

    classes = ("inner", "middle", "outer")

    def __init__(self, size, seed):
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.randint(3, (size,), generator=generator)
        radius = 1.0 + self.targets + 0.3 * torch.randn(size, generator=generator)
        angle = 2 * torch.pi * torch.rand(size, generator=generator)
        self.points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)

    def __len__(self):
        return len(self.targets)

    def __getitem__(self, position):
        return self.points[position], self.targets[position]


def make_datasets():
    """Return training and test data; a single data set would be split."""
    return Rings(size=1500, seed=0), Rings(size=1000, seed=1)


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/rings")
    run = train(RunConfig.model_validate(CONFIG), folder, resume=True)
    test = run.metrics()[-1]["test"]
    print(f"test accuracy {test['accuracy']:.1%}, calibration error {test['ece']:.3f}")
    print(f"report: {write_report([run], folder / 'report.html')}")


if __name__ == "__main__":
    main()
