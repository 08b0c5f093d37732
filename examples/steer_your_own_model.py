"""Steer a model of your own without training it: audit its activations, choose β on some digits, judge it on others.

The network below calls ReLU in every way that PyTorch offers: as a function, as a method, as a module made inside
``forward``, and as one module that two layers share. Nothing in it knows of steering, and replacing its ``nn.ReLU``
modules by hand would miss most of them. It is made to learn 150 digits with a fifth of the labels wrong by heart, so
that its boundary has folds which are worth smoothing.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from trueline.data import digits, symmetric_noise
from trueline.measure import evaluate
from trueline.steer import audit_activations, search_beta, steer
from trueline.steering import SteeringOptions, steer_run
from trueline.subjects import subject_of_model


class Stranger(nn.Module):
    """A network in the style of its author."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, 64) for width in (64, 64, 64, 64, 64))
        self.head = nn.Linear(64, 10)
        self.act = nn.ReLU()

    def forward(self, x):
        """Return logits (B, 10)."""
        x = F.relu(self.layers[0](x.flatten(1)))
        x = self.layers[1](x).relu()
        x = nn.ReLU()(self.layers[2](x))
        for layer in self.layers[3:]:
            x = self.act(layer(x))
        return self.head(x)


def train(model, inputs, labels):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(200):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main():
    torch.manual_seed(0)
    samples = digits().train
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))
    train_part, held_out = samples.select(order[:150]), samples.select(order[150:])
    wrong = symmetric_noise(train_part.labels, 0.2, 10, generator=torch.Generator().manual_seed(1))
    model = train(Stranger(), train_part.inputs / 16, wrong)

    images, labels = held_out.inputs / 16, held_out.labels
    print(audit_activations(model, images[:2]), end="\n\n")

    twin = steer(model, 1.0, example=images[:2])
    assert torch.equal(twin(images), model(images))  # β = 1 is the same function, to the bit
    print(f"at beta = 1 the twin's {len(images)} outputs are the model's own")

    found = search_beta(model, images[:400], labels[:400], metric="log_loss", scale="rms")
    print(found)
    with torch.inference_mode():
        before, after = (evaluate(labels[400:], logits=network(images[400:])) for network in (model, found.model))
    losses, change = [scored.scores["log_loss"].value for scored in (before, after)], after.minus(before)["log_loss"]
    print(
        f"on {before.samples} other samples: log loss {losses[0]:.3f} before and {losses[1]:.3f} after, "
        f"changed by {change.value:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
    )

    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/stranger-steered")
    options = SteeringOptions(metric="log_loss", scale="rms", samples=100)
    steered = steer_run(subject_of_model(model, held_out, name="stranger"), folder, options)
    print(f"page: {steered.page}")


if __name__ == "__main__":
    main()
