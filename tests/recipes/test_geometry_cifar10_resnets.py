"""The study of published networks by every probe, in small."""

import math
from pathlib import Path

import pytest
import torch

from trueline.recipes import _geometry_cifar10_resnets as study

SIZES = {
    "DEPTHS": (20,),
    "IMAGES": 60,
    "SAMPLED": 2,
    "GROUP": 1,
    "BENT": 1,
    "TRACED": 1,
    "COLLAPSED": 40,
    "CURVED": 2,
    "REPLACED": 2,
    "SHRUNK": 1 / 65536,
    "PROBES": 1,
    "PRODUCTS": 2,
}


def test_the_study_in_small(monkeypatch: pytest.MonkeyPatch, shared_data: Path) -> None:
    experiment, before = study.geometry_cifar10_resnets(shared_data), torch.get_rng_state()
    for constant, value in SIZES.items():
        monkeypatch.setattr(study, constant, value)
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    of_one = {name for name in experiment.variants if not name.startswith("resnet56")}
    assert set(found) == of_one
    for claim in experiment.claims:
        assert all(claim.metric in found[name] for name in (claim.variant, claim.baseline) if name in of_one)
    assert all(math.isfinite(value) for scores in found.values() for value in scores.values())
    network = found["resnet20"]
    assert network["violations"] == 0
    assert network["slack"] >= 1
    assert network["lipschitz"] <= network["largest_jacobian"] <= network["bound"]
    assert network["lipschitz"] <= network["nuclear"] <= 10 * network["lipschitz"]
    assert 1 <= network["stable_rank"] <= 10
    # The gradient of the loss is the transposed Jacobian times p - e, which is at most √2 long.
    for kind in ("right", "wrong"):
        group = found[f"resnet20/{kind}"]
        assert group["sharpness_at_image"] <= math.sqrt(2) * group["lipschitz"]
    assert found["resnet20/right"]["sharpness_at_image"] < found["resnet20/wrong"]["sharpness_at_image"]


def test_claims_name_what_is_measured(shared_data: Path) -> None:
    experiment = study.geometry_cifar10_resnets(shared_data)
    assert experiment.seeds == study.PARTS >= 3
    for claim in experiment.claims:
        assert {claim.variant, claim.baseline} <= set(experiment.variants)


def test_there_are_no_more_parts_than_images() -> None:
    assert study.PARTS * study.IMAGES <= 10_000
    with pytest.raises(ValueError, match="has 5 parts of the test images; ask for at most 5 seeds"):
        study.geometry_cifar10_resnets().measure(5)


def test_a_p_value_of_zero_has_a_logarithm() -> None:
    assert study._log10(1e-3) == pytest.approx(-3)
    assert study._log10(0.0) == -300


def test_the_figure_shows_every_part_and_the_interval() -> None:
    pytest.importorskip("altair")
    metrics = ("lipschitz", "sharpness", "crossings", "nc1", "loss_trace")
    variants = study.geometry_cifar10_resnets().variants[:-1]
    scores = {name: {metric: [1.0, 2.0, 6.0] for metric in metrics} for name in variants}
    groups, *_, last = study.figure(scores).concat
    rows = groups.data.values
    assert [row["of"] for row in rows] == [
        "ResNet-20, right",
        "ResNet-20, wrong",
        "ResNet-56, right",
        "ResNet-56, wrong",
    ]
    assert rows[0]["mean"] == 3
    assert rows[0]["parts"] == [1.0, 2.0, 6.0]
    assert len(last.data.values) == 2
