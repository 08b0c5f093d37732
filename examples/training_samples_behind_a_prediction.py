"""Which training samples made this prediction? A network on handwritten digits, a twentieth of them labelled wrongly.

The head of the network is fitted anew to the minimum of its penalised loss, where every logit is exactly a sum over the
training samples. The page shows some test images with the samples that speak for and against their predicted class.
"""

import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from trueline.data import digits, symmetric_noise
from trueline.explain import fit_l2_head, l2_representers
from trueline.page import png_uri
from trueline.steer import features_of, head_of

WEIGHT_DECAY = 0.01


def train(inputs, labels):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.003)
    for _ in range(100):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def picture(image, label, note=""):
    pixels = (image * 255).to(torch.uint8).repeat_interleave(6, 1).repeat_interleave(6, 2)
    return f'<figure><img src="{png_uri(pixels)}" alt="digit {label}"><figcaption>{label} {note}</figcaption></figure>'


def row(point, found, train_part, labels, test_part):
    def shown(part):
        wrong = " wrong label" if labels[part.sample] != train_part.labels[part.sample] else ""
        return picture(
            train_part.inputs[part.sample] / 16, int(labels[part.sample]), f"{part.contribution:+.2f}{wrong}"
        )

    image = picture(test_part.inputs[point] / 16, int(test_part.labels[point]))
    sides = ["".join(map(shown, side(point))) for side in (found.proponents_of, found.opponents_of)]
    said = f"says {int(found.target[point])}, logit {found.prediction[point]:.2f}"
    return f"<h2>{said}</h2><div>{image}</div><div>for: {sides[0]}</div><div>against: {sides[1]}</div>"


def main():
    samples = digits().train
    train_part, test_part = samples.select(torch.arange(1000)), samples.select(torch.arange(1000, 1797))
    labels = symmetric_noise(train_part.labels, 0.05, 10, generator=torch.Generator().manual_seed(1))
    wrong = labels != train_part.labels
    images, test_images = train_part.inputs / 16, test_part.inputs / 16
    model = train(images, labels)

    name = head_of(model, images[:2])
    features, test_features = (features_of(model, part, head=name) for part in (images, test_images))
    head = fit_l2_head(features, labels, weight_decay=WEIGHT_DECAY, head=model.get_submodule(name))
    print(head)
    found = l2_representers(
        features, labels, test_features, weight=head.weight, bias=head.bias, weight_decay=WEIGHT_DECAY
    )
    print(found)

    right = found.target == test_part.labels
    share = wrong[found.opponents[right, 0]].double().mean()
    print(f"{wrong.double().mean():.1%} of the training labels are wrong, but {share:.1%} of those of the strongest")
    print(f"opponents of the {int(right.sum())} right predictions are; {int((~right).sum())} predictions are wrong")

    points = [*(~right).nonzero()[:5, 0].tolist(), *right.nonzero()[:5, 0].tolist()]
    rows = "".join(row(point, found, train_part, labels, test_part) for point in points)
    style = "<style>body{font-family:sans-serif} figure{display:inline-block;margin:4px;text-align:center}</style>"
    title = "Training samples behind predictions"
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/training-samples.html")
    path.parent.mkdir(parents=True, exist_ok=True)
    head_of_page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>{style}'
    path.write_text(f"{head_of_page}<h1>{title}</h1>{rows}</html>", encoding="utf-8")
    print(f"page: {path}")


if __name__ == "__main__":
    main()
