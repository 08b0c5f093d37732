"""Attributions of a published CIFAR-10 network that are harder to manipulate, without training."""

from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from trueline.contracts import facts_of
from trueline.explain import TopK, attack_attribution, attribute, cosine_similarity, random_signs
from trueline.measure import accuracy
from trueline.recipes._claim import Claim
from trueline.recipes._shared_data import cifar10_test, trained_resnet
from trueline.recipes._steer_attributions import BLAME, MIXES
from trueline.recipes._study import Study
from trueline.steer import steer

BETAS = (0.9, 0.85, 0.8, 0.75, 0.7)
MILD = 0.9
GUIDES = (0.95, 0.8)  # of the softplus networks that every attack follows
ALLOWED = 0.01  # loss of accuracy
CHOOSING, PARTS, ATTACKED = 2000, 5, 60  # images that choose beta; parts of the others, and images attacked in each
RADIUS, STEPS, SHARE = 1 / 255, 8, 0.1


def steer_attributions_cifar10(folder: Path | None = None) -> Study:
    """The gradient of the published ResNet-20 under attack: does steering, without training, make it hold better?

    The map is the gradient of the predicted class's logit, its sizes summed over the channels. The attack of Ghorbani
    et al. moves each entry of an image in [0, 1] by at most 1/255, in 8 steps for each network it follows, so that the
    largest tenth of the pixels changes, and the prediction must stay. ``intersection`` is the share of the tenth that
    is still there at the worst point; images that the attacked network itself gets wrong are skipped. ``random`` is the
    same for 8 draws of random signs of the full radius. At 1/255 a tenth of the unsteered network's pixels already
    loses nearly everything, so no larger radius is tried.

    The attack is adaptive: it follows the attacked network itself where that is smooth, and, for all alike, the
    softplus twins of the published network at β = .95 and .8; the worst point counts. ``mixed`` has the mix ½ and
    ``softplus`` 0. Of β = .9, .85, .8, .75 and .7, ``chosen`` is the smallest that loses at most a point of accuracy on
    the first 2,000 test images; everything is reported on the other 8,000. ``mixed, mild`` is β = .9. ``cosine``
    compares the gradient with that of the published network: a smoothed network explains itself.

    Nothing is random but the signs: a "seed" is one of five disjoint parts of 1,600 images, in their original order, of
    which the first 60 are attacked and all are classified. The interval is over parts; the choice of β is made once.

    Args:
        folder: holds ``models`` and ``cifar10``; by default what ``TRUELINE_DATA`` names.
    """
    claims = [
        Claim("mixed: attributions hold better at the chosen beta", "intersection", "mixed, chosen", "relu", "higher"),
        Claim("softplus: so they do", "intersection", "softplus, chosen", "relu", "higher"),
        Claim("mixed: they hold better at beta 0.9 already", "intersection", "mixed, mild", "relu", "higher"),
        Claim("mixed: better at the chosen than at beta 0.9", "intersection", "mixed, chosen", "mixed, mild", "higher"),
        Claim("mixed: they hold better under random signs too", "random", "mixed, chosen", "relu", "higher"),
        Claim("softplus: so they do", "random", "softplus, chosen", "relu", "higher"),
    ]
    claims += [
        Claim(
            f"{name}: accuracy at the chosen beta is within a point of ReLU's",
            "accuracy",
            f"{name}, chosen",
            "relu",
            "higher",
            margin=ALLOWED,
        )
        for name in MIXES
    ]
    return Study(
        name="steer-attributions-cifar10",
        summary="How far an attack moves the largest pixels of a published CIFAR-10 ResNet's gradient, steered or not.",
        references=(facts_of(steer).references[0], facts_of(attack_attribution).references[0], BLAME),
        variants=("relu", "mixed, mild", *(f"{name}, chosen" for name in MIXES)),
        measure=partial(_measure, folder),
        claims=tuple(claims),
        seeds=PARTS,
    )


def _measure(folder: Path | None, part: int) -> dict[str, dict[str, float]]:
    if part >= PARTS:
        raise ValueError(
            f"steer-attributions-cifar10 has {PARTS} parts of the test images; ask for at most {PARTS} seeds"
        )
    images, labels = (torch.tensor_split(each[CHOOSING:], PARTS)[part].contiguous() for each in cifar10_test(folder))
    model = _network(folder)
    guides = [steer(model, beta, mix=0.0, example=images[:2]) for beta in GUIDES]
    few, true = images[:ATTACKED], labels[:ATTACKED]
    original = attribute(model, few, true).maps
    settings = {"relu": (1.0, 0.5), "mixed, mild": (MILD, MIXES["mixed"])}
    settings |= {f"{name}, chosen": (_chosen(folder, mix), mix) for name, mix in MIXES.items()}
    done: dict[tuple[float, float], dict[str, float]] = {}
    for beta, mix in settings.values():
        if (beta, mix) in done:  # the same network
            continue
        network = model if beta == 1 else steer(model, beta, mix=mix, example=images[:2])
        followed = guides if network is model else [network, *guides]
        aim = TopK(SHARE)
        attack = attack_attribution(network, few, true, radius=RADIUS, objective=aim, surrogates=followed, steps=STEPS)
        control = random_signs(network, few, true, radius=RADIUS, objective=aim, draws=STEPS)
        assert attack.mean is not None, "the network gets some images right"
        assert control.mean is not None, "the same ones"
        done[beta, mix] = {
            "accuracy": _accuracy(network, images, labels),
            "intersection": attack.mean.value,
            "random": control.mean.value,
            "cosine": cosine_similarity(attribute(network, few, true).maps, original).mean().item(),
            "beta": beta,
        }
    return {name: done[setting] for name, setting in settings.items()}


@cache
def _chosen(folder: Path | None, mix: float) -> float:
    """Return the smallest β that keeps the accuracy, the same for all parts; 1 if none does."""
    images, labels = (each[:CHOOSING].contiguous() for each in cifar10_test(folder))
    model = _network(folder)
    least = _accuracy(model, images, labels) - ALLOWED
    kept = [
        beta for beta in BETAS if _accuracy(steer(model, beta, mix=mix, example=images[:2]), images, labels) >= least
    ]
    return min(kept, default=1.0)


def _network(folder: Path | None) -> nn.Module:
    """Return the network whose channels are not last: pooling those ends in a view without a rule for its slope."""
    model = trained_resnet(20, folder)
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing from torch's stubs
    return model


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    with torch.inference_mode():
        logits = torch.cat([model(batch) for batch in torch.split(images, 100)])
    return accuracy(labels, logits=logits).mean().item()
