"""Probe a model of your own: how near is another prediction, and what did wrong labels do to it?

Two networks of the same shape learn 200 digits by heart, one of them with a quarter of the labels wrong. Both fit the
labels they were given. The probes show what the wrong ones cost: the function had to bend around them.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from trueline.data import digits, symmetric_noise
from trueline.probing import probe_subject, write_page
from trueline.subjects import Subject


def train(inputs, labels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(200):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval(), start


def main():
    samples = digits().train
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    known, held_out = samples.select(order[:200]), samples.select(order[200:])
    wrong = symmetric_noise(known.labels, 0.25, 10, generator=torch.Generator().manual_seed(1))
    for name, labels in {"right labels": known.labels, "wrong labels": wrong}.items():
        given = known.with_labels(labels)
        model, start = train(given.inputs / given.value_range, given.labels)
        subject = Subject(name, model, {"train": given, "test": held_out}, samples.class_names, {"data": "digits"})
        found = probe_subject(subject, ["jacobian", "regions", "sharpness", "initialisation"], initial=start)
        print(f"{name}:")
        for probe in found.measured:
            print(f"  {probe.title}: {probe.found.sentences[0]}")
        distance = found["jacobian"].records["input_jacobian_norm"].mean
        print(f"  mean C: {distance.value:.3f} ({distance.low:.3f} to {distance.high:.3f})")
        if (split := found["sharpness"].split) is not None:
            change = split.difference
            print(f"  sharper around wrong labels by {change.value:.3f} ({change.low:.3f} to {change.high:.3f})")
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs")
    print(f"page: {write_page(found, folder / 'probe.html')}")


if __name__ == "__main__":
    main()
