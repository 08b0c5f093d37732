"""Audit two published networks on real pictures: ResNet-20 alone, then ResNet-56 beside it.

Needs the CIFAR-10 test images (``cifar10/test-*.parquet`` and a training shard) and the weights
(``models/cifar10-resnet20.safetensors`` and ``-resnet56``) in one folder: the first argument, ``$TRUELINE_DATA``, or
``../shared/data``. The predictions are also saved, as files that ``trueline audit`` reads.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

import trueline
from trueline.data import cifar10
from trueline.models import CifarResNet

# What the networks were trained with.
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path, default=os.environ.get("TRUELINE_DATA", "../shared/data"))
    parser.add_argument("--samples", type=int, default=2000, help="how many of the 10,000 test images")
    parser.add_argument("--out", type=Path, default="runs/audit-cifar10", help="folder for predictions and pages")
    return parser.parse_args()


@torch.inference_mode()
def predict(weights, depth, images):
    """Return the logits (N, 10) of a CIFAR ResNet for uint8 images (N, 3, 32, 32)."""
    model = CifarResNet(depth, (3, 32, 32), 10).eval()
    model.load_state_dict(load_file(weights))
    return torch.cat([model((batch / 255 - MEAN) / STD) for batch in images.split(100)]).numpy()


def main():
    arguments = parse_arguments()
    weights = {depth: arguments.data / "models" / f"cifar10-resnet{depth}.safetensors" for depth in (20, 56)}
    missing = [path for path in (arguments.data / "cifar10", *weights.values()) if not path.exists()]
    if missing:
        print(f"This example needs {missing[0]}, which is not there. Name the folder that holds the data and weights.")
        return
    test = cifar10(arguments.data / "cifar10", shards=[0]).test  # one training shard, because there must be some
    images, labels = test.inputs[: arguments.samples], test.labels[: arguments.samples].numpy()
    facts = {"class_names": test.class_names, "images": images.permute(0, 2, 3, 1).numpy()}  # (N, 32, 32, 3)

    arguments.out.mkdir(parents=True, exist_ok=True)
    logits = {}
    for depth, path in weights.items():
        print(f"predicting {len(labels):,} images with ResNet-{depth}")
        logits[f"ResNet-{depth}"] = predict(path, depth, images)
        saved = {"logits": logits[f"ResNet-{depth}"], "labels": labels, **facts}
        np.savez(arguments.out / f"resnet{depth}.npz", **saved)

    alone = trueline.audit(labels, logits=logits["ResNet-20"], title="ResNet-20 on CIFAR-10", **facts)
    both = trueline.audit(labels, logits=logits, title="ResNet-20 and ResNet-56 on CIFAR-10", **facts)
    print(f"\n{alone}\n\npage: {alone.write_html(arguments.out / 'resnet20.html')}")
    print(f"\n{both}\n\npage: {both.write_html(arguments.out / 'both.html')}")
    print(f"\nthe same from the files: trueline audit {arguments.out}/resnet20.npz {arguments.out}/resnet56.npz")


if __name__ == "__main__":
    main()
