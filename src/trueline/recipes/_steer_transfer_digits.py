"""Curvature tuning against linear probing and LoRA, from CIFAR-10 to digits."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trueline.contracts import facts_of
from trueline.data import digits
from trueline.measure import mean_scores
from trueline.recipes._claim import Claim
from trueline.recipes._shared_data import trained_resnet
from trueline.recipes._study import Study
from trueline.steer import Adapted, BetaSearch, adapt, add_lora, search_beta_for_transfer, steer, trainable_curvature

Policy = Literal["keep", "recalibrate", "train"]
POLICIES: tuple[Policy, ...] = ("keep", "recalibrate", "train")
METHODS = ("probe", "steered", "trained_curvature", "lora")
BETAS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.93, 0.96, 0.98)
RATES = {"probe": (1e-1, 1e-2), "steered": (1e-1, 1e-2), "trained_curvature": (1e-1, 1e-2), "lora": (1e-2, 1e-3)}
HEAD = "model.linear"
PER_CLASS = 20


def steer_transfer_digits(folder: Path | None = None) -> Study:
    """ResNet-20, trained on CIFAR-10, to scikit-learn's digits: linear probe, S-CT, T-CT and LoRA of rank 1.

    Digits in [0, 1] are resized from 8 x 8 to 32 x 32 pixels (bilinear) and repeated in three channels. Of each class
    20 images train, 20 validate, and the other 1,397 in all test; a seed draws the split, the start of the heads and
    the order of the samples. Protocol of the authors: Adam, batches of 32, 20 epochs, the first a warm-up, a tenth of
    the rates from epoch 10 on, the best validation epoch kept.

    The source did not tune its methods alike; here each tries two learning rates on validation, under each policy for
    batch norm by itself: probe and S-CT .1 and .01 for the head, which is all they train; T-CT .1 and .01, LoRA .01 and
    .001 for what they train beside the head, whose own rate is then that of the probe. S-CT also tries nine values of
    β. The policies: the running statistics are kept; re-estimated on the training images first; or follow them in
    training, as in the source for trained methods. In training S-CT has the β that was chosen with re-estimated
    statistics.

    Args:
        folder: holds ``models/cifar10-resnet20.safetensors``; by default what ``TRUELINE_DATA`` names.
    """
    claims = []
    for policy in POLICIES:
        probe, steered, trained, lora = (f"{policy}/{method}" for method in METHODS)
        claims += [
            Claim(f"{policy}: S-CT beats linear probing", "accuracy", steered, probe, "higher", ".753, .740"),
            Claim(f"{policy}: T-CT beats linear probing", "accuracy", trained, probe, "higher", ".783, .740"),
            Claim(f"{policy}: T-CT beats LoRA of rank 1", "accuracy", trained, lora, "higher", ".783, .736"),
        ]
    claims += [
        Claim(
            "Batch norm that follows the new data helps linear probing too",
            "accuracy",
            "train/probe",
            "keep/probe",
            "higher",
        ),
        Claim("It helps T-CT", "accuracy", "train/trained_curvature", "keep/trained_curvature", "higher"),
    ]
    return Study(
        name="steer-transfer-digits",
        summary="From CIFAR-10 to digits with few labels: linear probe, S-CT, T-CT and LoRA, under three batch norms.",
        references=(facts_of(steer).references[0], facts_of(add_lora).references[0]),
        variants=tuple(f"{policy}/{method}" for policy in POLICIES for method in METHODS),
        measure=partial(_measure, folder),
        claims=tuple(claims),
    )


def _measure(folder: Path | None, seed: int) -> dict[str, dict[str, float]]:
    images, labels, (train, validation, test) = _digits(seed)
    data: dict[str, Any] = {
        "inputs": images[train],
        "labels": labels[train],
        "val_inputs": images[validation],
        "val_labels": labels[validation],
        "num_classes": 10,
        "head": HEAD,
    }
    task = _Task(trained_resnet(20, folder), data, images[test], labels[test], seed)
    starts = {
        "trained_curvature": trainable_curvature(task.model, images[:2]),
        "lora": add_lora(task.model, head=HEAD, generator=torch.Generator().manual_seed(seed)),
    }
    found: dict[str, dict[str, float]] = {}
    betas: dict[str, float] = {}
    head_rate = 0.0
    for policy in POLICIES:
        for method, tried in {"steered": BETAS, "probe": ()}.items():
            if policy == "train":
                frozen = steer(task.model, betas[method], example=images[:2]).requires_grad_(False)
                fits = {rate: task.adapt(frozen, policy, rate, rate) for rate in RATES[method]}
                head_rate = _best({rate: fit.val_score for rate, fit in fits.items()})
                model = fits[head_rate].model
            else:
                searches = {rate: task.search(tried, policy, rate) for rate in RATES[method]}
                head_rate = _best({rate: search.value for rate, search in searches.items()})
                model, betas[method] = searches[head_rate].model, searches[head_rate].beta
            chosen = {"learning_rate": head_rate, "beta": betas[method]}
            found[f"{policy}/{method}"] = task.scores(model) | chosen
        # The probe came last, so that its rate is the head's.
        for method, start in starts.items():
            fits = {rate: task.adapt(start, policy, rate, head_rate) for rate in RATES[method]}
            rate = _best({rate: fit.val_score for rate, fit in fits.items()})
            found[f"{policy}/{method}"] = task.scores(fits[rate].model) | {"learning_rate": rate}
    return found


def _best(values: dict[float, float]) -> float:
    """Return the rate with the best validation score; of equal ones the first."""
    return max(values, key=values.__getitem__)


@dataclass(frozen=True)
class _Task:
    """The network, the digits of one seed, and what is done with them."""

    model: nn.Module
    data: dict[str, Any]
    test_inputs: Tensor
    test_labels: Tensor
    seed: int

    def search(self, betas: tuple[float, ...], policy: Literal["keep", "recalibrate"], rate: float) -> BetaSearch:
        again = torch.Generator().manual_seed(self.seed)
        return search_beta_for_transfer(
            self.model, **self.data, betas=betas, batch_norm=policy, learning_rate=rate, generator=again
        )

    def adapt(self, start: nn.Module, policy: Policy, rate: float, head_rate: float) -> Adapted:
        again = torch.Generator().manual_seed(self.seed)
        return adapt(
            start, **self.data, batch_norm=policy, learning_rate=rate, head_learning_rate=head_rate, generator=again
        )

    def scores(self, fitted: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            logits = torch.cat([fitted(part) for part in torch.split(self.test_inputs, 256)])
        return mean_scores(self.test_labels, logits=logits)


def _digits(seed: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Return all images (N, 3, 32, 32) in [0, 1], their labels, and the positions that train, validate and test."""
    source = digits().train
    assert isinstance(source.inputs, Tensor), "the digits are in memory"
    small = source.inputs.float() / source.value_range
    images = F.interpolate(small, (32, 32), mode="bilinear").expand(-1, 3, -1, -1)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    by_class = [order[source.labels[order] == label] for label in range(10)]
    parts = [torch.split(each, [PER_CLASS, PER_CLASS, len(each) - 2 * PER_CLASS]) for each in by_class]
    train, validation, test = (torch.cat(part) for part in zip(*parts, strict=True))
    return images.contiguous(memory_format=torch.channels_last), source.labels, (train, validation, test)
