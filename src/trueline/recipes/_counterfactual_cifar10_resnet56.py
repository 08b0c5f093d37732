"""Counterfactuals among the penultimate features of a published CIFAR-10 ResNet-56, after Gemou et al. (2026)."""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from trueline.contracts import facts_of
from trueline.counterfactual import LocalSupport, find_counterfactuals
from trueline.data import cifar10
from trueline.models import CifarResNet, Normalized
from trueline.recipes._claim import Claim
from trueline.recipes._counterfactual_heads import (
    EXPLAINED_CLAIMS,
    FITTED,
    NEIGHBOURS,
    SPREAD_CLAIMS,
    VARIANTS,
    Embeddings,
    figure,
    measure_heads,
    outcome,
    searches,
)
from trueline.recipes._shared_data import shared_folder, trained_resnet
from trueline.recipes._study import Study

PARTS, IMAGES, EXPLAINED, BATCH = 5, 1000, 500, 100  # parts, images in a group of a part, and how many are explained
OWN = "network's own"
HELD_OUT = (
    "published",
    "support 5, wide",
    "default, no support",
    "default",
    "default, support 5",
    "nearest example",
)


def counterfactual_cifar10_resnet56(folder: Path | None = None) -> Study:
    """The 64 penultimate features of ResNet-56 on CIFAR-10 as embeddings: heads, searches, and what explains success.

    A "seed" is one of five disjoint parts of the first 10,000 training and of all test images, in their original order.
    Of a part 1,000 training images fit the heads and 1,000 others are the reference; 500 test images are explained.
    The network was trained on all training images, where its features are nearly one point a class, and a search that
    stops at its first flip ends between these points. So the searches that end in ``, held out`` have 1,000 other test
    images of the part as reference, and heads are called equally accurate on those.

    Heads, searches and scores are those of ``counterfactual-digits``, on features as they are. The head
    ``network's own`` is the last layer of the network.

    Args:
        folder: holds ``models`` and ``cifar10``; by default what ``TRUELINE_DATA`` names.
    """
    own = tuple(f"{name}, held out" for name in HELD_OUT)
    return Study(
        name="counterfactual-cifar10-resnet56",
        summary="Heads on features of a trained ResNet-56: who flips, where flips end, and what explains it.",
        references=facts_of(find_counterfactuals).references[:1],
        variants=(*VARIANTS, OWN, *own),
        measure=partial(measure, folder),
        claims=(
            *SPREAD_CLAIMS,
            Claim(
                "The published probe ends among data less than once in twenty",
                "supported",
                "published",
                "one in twenty",
                "lower",
            ),
            Claim("With the support term more than once in two", "supported", "support 5", "one in two", "higher"),
            Claim("And in the wider ball", "supported", "support 5, wide", "one in two", "higher"),
            Claim("And by the library's search", "supported", "default, support 5", "one in two", "higher"),
            Claim("And judged by held-out data", "supported", "default, support 5, held out", "one in two", "higher"),
            Claim(
                "Judged by these the support term raises supported flips",
                "supported",
                "default, support 5, held out",
                "default, no support, held out",
                "higher",
            ),
            Claim("The support term raises success", "success", "support 1", "published", "higher"),
            Claim("So does the lead in place of the logit", "success", "margin", "published", "higher"),
            Claim("Smaller logits, fewer flips", "success", "published, logits / 10", "published", "lower"),
            Claim(
                "The library's search does not see the size of logits",
                "success",
                "default, logits / 10",
                "default",
                "higher",
                margin=0.001,
            ),
            *EXPLAINED_CLAIMS,
        ),
        seeds=PARTS,
        figure=partial(figure, (*FITTED, OWN)),
    )


def measure(folder: Path | None, part: int) -> dict[str, dict[str, float]]:
    """Return the scores of all variants on one part of the images."""
    if part >= PARTS:
        raise ValueError(
            f"counterfactual-cifar10-resnet56 has {PARTS} parts of the images; ask for at most {PARTS} seeds"
        )
    model = trained_resnet(56, folder)
    source = cifar10(shared_folder(folder) / "cifar10", shards=(0,))
    assert source.test is not None, "CIFAR-10 has a test set"
    groups = []
    for examples, sizes in ((source.train, (IMAGES, IMAGES)), (source.test, (EXPLAINED, IMAGES))):
        for half, size in enumerate(sizes):
            start = (2 * part + half) * IMAGES
            assert isinstance(examples.inputs, Tensor), "all images fit into memory"
            images = examples.inputs[start : start + size].float() / examples.value_range
            groups.append((features(model, images), examples.true_labels[start : start + size]))
    train, reference, explained, held_out = groups
    assert isinstance(model.model, CifarResNet)
    data = Embeddings(train, reference, judged=held_out, examples=explained)
    found = measure_heads(data, part, {OWN: model.model.classifier})
    support = LocalSupport(*held_out, k=NEIGHBOURS)
    logistic = FITTED["logistic"](*train, part)
    among = searches(support)
    return found | {f"{name}, held out": outcome(among[name](logistic, explained[0], support)) for name in HELD_OUT}


@torch.no_grad()
def features(model: Normalized, images: Tensor) -> Tensor:
    """Return what the last layer of the network sees.

    Args:
        model: as :func:`trained_resnet` returns it.
        images: (N, 3, 32, 32) in [0, 1].
    """
    assert isinstance(model.model, CifarResNet)
    shape = (-1, 1, 1)
    normalised = (images.to(memory_format=torch.channels_last) - model.mean.view(shape)) / model.std.view(shape)
    return torch.cat([model.model.features(batch) for batch in torch.split(normalised, BATCH)])
