"""Every objective keeps the contract, and the battery catches those that do not."""

from collections.abc import Callable

import pytest
import torch

from trueline.contracts import TargetBuilder, check_target_builder, facts_of
from trueline.supervise import DPS, OBJECTIVES, CrossEntropy, build

VARIANTS: dict[str, Callable[[torch.Tensor, int], TargetBuilder]] = {
    "dps_before": lambda labels, c: DPS(labels, c, order="before"),
    "dps_warm_up": lambda labels, c: DPS(labels, c, warmup_epochs=1),
    "dps_counts": lambda labels, c: DPS(labels, c, c=3.0, gamma=1.0),
    "dps_forgets_all": lambda labels, c: DPS(labels, c, c=3.0, gamma=0.0),
    "dps_half": lambda labels, c: DPS(labels, c, store_dtype="float16"),
    "dps_on_cpu": lambda labels, c: DPS(labels, c, store_on_cpu=True),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_keeps_the_contract(name: str) -> None:
    check_target_builder(lambda labels, c: build(name, labels=labels, num_classes=c, epochs=5))


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_of_dps_keeps_the_contract(name: str) -> None:
    check_target_builder(VARIANTS[name])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_carries_its_reference(name: str) -> None:
    facts = facts_of(OBJECTIVES[name])
    assert facts.group == "supervise"
    assert facts.references
    assert facts.cost


class _ReducesTheLoss(CrossEntropy):
    def loss(self, logits, labels, index):
        return super().loss(logits, labels, index).mean()


class _UpdatesInTheLoss(DPS):
    def loss(self, logits, labels, index):
        losses = super().loss(logits, labels, index)
        self.update(index, logits)
        return losses


class _ForgetsToSave(DPS):
    def state_dict(self, *args, **kwargs):
        state = super().state_dict(*args, **kwargs)
        state["store.rows"] = torch.full_like(state["store.rows"], 0.2)
        return state


class _DrawsFromTheGlobalState(CrossEntropy):
    def end_epoch(self):
        super().end_epoch()
        torch.rand(1)


class _LeaksGradient(DPS):
    def targets(self, index, labels):
        return super().targets(index, labels) * torch.ones(1, requires_grad=True)


class _UnnormalisedTargets(CrossEntropy):
    def targets(self, index, labels):
        return 2 * super().targets(index, labels)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (lambda labels, c: _ReducesTheLoss(c), "one value per sample|shape|TypeCheckError"),
        (lambda labels, c: _UpdatesInTheLoss(labels, c), "agree to the bit"),
        (lambda labels, c: _ForgetsToSave(labels, c), "resume to the same bits"),
        (lambda labels, c: _DrawsFromTheGlobalState(c), "random state"),
        (lambda labels, c: _LeaksGradient(labels, c), "no gradient"),
        (lambda labels, c: _UnnormalisedTargets(c), "sum to 1"),
    ],
)
def test_the_battery_names_the_broken_promise(broken, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_target_builder(broken)
