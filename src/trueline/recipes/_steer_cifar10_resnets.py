"""Training-free steering of published CIFAR-10 networks on their own task, as by Hu, Gamba and Balestriero (2025)."""

from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from trueline.contracts import facts_of
from trueline.measure import log_loss, mean_scores
from trueline.recipes._claim import Claim
from trueline.recipes._shared_data import cifar10_test, trained_resnet
from trueline.recipes._study import Study
from trueline.robustness import apgd_ce, corruption_accuracy, pgd, robust_accuracy
from trueline.steer import recalibrate_batch_norm, search_beta, steer

DEPTHS = (20, 56)
BETAS = (0.7, 0.8, 0.85, 0.9, 0.93, 0.95, 0.97, 0.99)
RADII = {"robust_1": 1 / 255, "robust_8": 8 / 255}
VARIANTS = ("relu", "steered", "likely", "recalibrated", "robust")
CHOOSING, PARTS = 2000, 5  # images that choose beta, and parts of the others
SEARCHED, STATISTICS, ATTACKED, CORRUPTED = 100, 500, 40, 40


def steer_cifar10_resnets(folder: Path | None = None) -> Study:
    """ResNet-20 and ResNet-56 with published weights on CIFAR-10: what S-CT changes on the task they were trained for.

    The weights have seen all training images, so β is chosen on test images, the first 2,000, and everything is
    reported on the other 8,000. Of 1, .99, .97, .95, .93, .9, .85, .8 and .7, ``steered`` has the β with the best
    accuracy and ``likely`` that with the lowest log loss; ``recalibrated`` is as ``steered``, with the running
    statistics of batch norm re-estimated for each β, 1 included, on the first 500 images; ``robust`` has the β with the
    best accuracy under ten steps of PGD at 1/255 on the first 100. The head and all weights are those published.

    ``accuracy``, ``log_loss`` and ``ece`` are on all images. ``robust_1`` and ``robust_8`` are accuracies in the worst
    case of PGD (20 steps) and APGD-CE (30 steps) within 1/255 and 8/255 of images in [0, 1], with the normalisation
    inside the model, on 40 images of each part; ``corrupted`` is the mean accuracy under all fifteen corruptions at
    severities 1, 3 and 5, on 40 of each. The source attacks normalised images, so its radius is another.

    Nothing is random but the starts of the attacks and the corruptions: a "seed" is one of five disjoint parts of 1,600
    images, in their original order. The interval is over parts. It says how far the result depends on the images,
    and not how far on the choice of β, which is made once.

    Args:
        folder: holds ``models`` and ``cifar10``; by default what ``TRUELINE_DATA`` names.
    """
    claims = []
    for depth in DEPTHS:
        relu, steered, likely, recalibrated, robust = (f"resnet{depth}/{name}" for name in VARIANTS)
        claims += [
            Claim(f"ResNet-{depth}: S-CT is more accurate on its own task", "accuracy", steered, relu, "higher"),
            Claim(f"ResNet-{depth}: S-CT has the lower log loss", "log_loss", likely, relu, "lower"),
            Claim(f"ResNet-{depth}: S-CT is better calibrated", "ece", likely, relu, "lower"),
            Claim(
                f"ResNet-{depth}: recalibrated S-CT is more accurate than the network",
                "accuracy",
                recalibrated,
                relu,
                "higher",
            ),
            Claim(f"ResNet-{depth}: S-CT is more robust within 1/255", "robust_1", robust, relu, "higher"),
            Claim(
                f"ResNet-{depth}: S-CT is more robust within 8/255",
                "robust_8",
                robust,
                relu,
                "higher",
                ".149, .112 for ResNet-18, in normalised units",
            ),
            Claim(f"ResNet-{depth}: S-CT holds better under corruptions", "corrupted", steered, relu, "higher"),
            Claim(f"ResNet-{depth}: so does the β chosen under attack", "corrupted", robust, relu, "higher"),
        ]
    return Study(
        name="steer-cifar10-resnets",
        summary="Published CIFAR-10 ResNets steered on their own task: accuracy, calibration, attacks and corruptions.",
        references=(
            facts_of(steer).references[0],
            facts_of(pgd).references[0],
            facts_of(apgd_ce).references[0],
            facts_of(corruption_accuracy).references[0],
        ),
        variants=tuple(f"resnet{depth}/{name}" for depth in DEPTHS for name in VARIANTS),
        measure=partial(_measure, folder),
        claims=tuple(claims),
        seeds=PARTS,
    )


def _measure(folder: Path | None, part: int) -> dict[str, dict[str, float]]:
    if part >= PARTS:
        raise ValueError(f"steer-cifar10-resnets has {PARTS} parts of the test images; ask for at most {PARTS} seeds")
    images, labels = (torch.tensor_split(each[CHOOSING:], PARTS)[part] for each in cifar10_test(folder))
    found = {}
    for depth in DEPTHS:
        done: dict[tuple[float, bool], dict[str, float]] = {}
        for name, (beta, recalibrated) in _choices(folder, depth).items():
            # Variants that chose the same are the same network.
            if (beta, recalibrated) not in done:
                model = _network(folder, depth, beta, recalibrated)
                done[beta, recalibrated] = _scores(model, images, labels) | {"beta": beta}
            found[f"resnet{depth}/{name}"] = done[beta, recalibrated]
    return found


@cache
def _choices(folder: Path | None, depth: int) -> dict[str, tuple[float, bool]]:
    """Return the β of each variant, and whether its batch norm is recalibrated; the same for all parts."""
    images, labels = (each[:CHOOSING] for each in cifar10_test(folder))
    model = trained_resnet(depth, folder)
    steered = search_beta(model, images, labels, betas=BETAS)
    losses = {
        beta: log_loss(labels, logits=logits).mean().item()
        for beta, logits in zip(steered.betas, steered.logits, strict=True)
    }
    again = search_beta(model, images, labels, betas=BETAS, batch_norm="recalibrate", batches=[images[:STATISTICS]])
    robust = search_beta(model, images[:SEARCHED], labels[:SEARCHED], betas=BETAS, metric=_under_attack)
    return {
        "relu": (1.0, False),
        "steered": (steered.beta, False),
        "likely": (min(losses, key=losses.__getitem__), False),
        "recalibrated": (again.beta, True),
        "robust": (robust.beta, False),
    }


def _network(folder: Path | None, depth: int, beta: float, recalibrated: bool) -> nn.Module:
    images, _ = cifar10_test(folder)
    twin = steer(trained_resnet(depth, folder), beta, example=images[:2])
    if recalibrated:
        recalibrate_batch_norm(twin, [images[:STATISTICS]])
    return twin


def _under_attack(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    attacks = {"pgd": partial(pgd, steps=10)}
    return robust_accuracy(model, images, labels, radius=RADII["robust_1"], attacks=attacks).robust_accuracy.value


def _scores(model: nn.Module, images: Tensor, labels: Tensor) -> dict[str, float]:
    with torch.inference_mode():
        logits = torch.cat([model(batch) for batch in torch.split(images, 100)])
    clean = mean_scores(labels, logits=logits)
    scores = {name: clean[name] for name in ("accuracy", "log_loss", "ece")}
    attacks = {"pgd": partial(pgd, steps=20), "apgd_ce": partial(apgd_ce, steps=30)}
    few = images[:ATTACKED], labels[:ATTACKED]
    for name, radius in RADII.items():
        scores[name] = robust_accuracy(model, *few, radius=radius, attacks=attacks).robust_accuracy.value
    corrupted = corruption_accuracy(model, images[:CORRUPTED], labels[:CORRUPTED], severities=(1, 3, 5))
    return scores | {"corrupted": corrupted.mean.value}
