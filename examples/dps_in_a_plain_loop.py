"""DPS in a plain PyTorch loop: digits with 40 % wrong training labels, tested on clean ones, without and with DPS.

The loop differs from the usual one in three lines, marked 1 to 3; ``end_epoch`` is for objectives that have a schedule.
"""

import torch

from trueline.data import digits, symmetric_noise
from trueline.supervise import DPS, CrossEntropy


def main():
    inputs, truth = digits().train.inputs.flatten(1) / 16, digits().train.labels
    labels = symmetric_noise(truth[:900], 0.4, num_classes=10, generator=torch.manual_seed(0))
    for objective in (CrossEntropy(num_classes=10), DPS(labels, num_classes=10)):  # 1: all given labels, once
        model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
        optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
        for _ in range(60):
            for index in torch.randperm(900).split(50):  # positions in the training set
                logits = model(inputs[index])
                objective.loss(logits, labels[index], index).mean().backward()  # 2: instead of F.cross_entropy
                optimizer.step()
                optimizer.zero_grad()
                objective.update(index, logits)  # 3: learn from the predictions of this step
            objective.end_epoch()
        print(f"{type(objective).__name__}: {(model(inputs[900:]).argmax(1) == truth[900:]).float().mean():.1%} right")


if __name__ == "__main__":
    main()
