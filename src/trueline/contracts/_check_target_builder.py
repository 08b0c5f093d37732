"""The public battery that every builder of training targets passes."""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Int64
from torch import Tensor

from trueline.contracts._target_builder import TargetBuilder

Factory = Callable[[Int64[Tensor, " N"], int], TargetBuilder]

NUM_SAMPLES = 12
NUM_CLASSES = 5


def check_target_builder(make: Factory) -> None:
    """Check that a class keeps the promises of :class:`TargetBuilder`, on a small problem.

    Promises checked: targets on the simplex and without gradient; one finite float32 loss per sample, also for
    half-precision, saturated, single and no samples; ``loss`` and ``targets`` change nothing; a batch equals
    its samples; the order inside a batch does not matter; an update touches its own samples alone; all state
    survives ``state_dict`` and ``deepcopy`` to the bit; random state is left as found; an index outside the
    training set is refused by whatever remembers samples.

    Args:
        make: builds a fresh object from the given labels (N,) and the number of classes.

    Raises:
        AssertionError: naming the first broken promise.

    Example:
        >>> from trueline.supervise import DPS
        >>> check_target_builder(lambda labels, num_classes: DPS(labels, num_classes, window=4))
    """
    random_state = torch.get_rng_state()
    for promise in (
        _targets_are_distributions,
        _losses_are_per_sample,
        _loss_changes_nothing,
        _batch_equals_samples,
        _order_does_not_matter,
        _update_touches_its_own,
        _state_survives,
        _memory_refuses_strangers,
        _reports_are_finite,
    ):
        promise(make)
    assert torch.equal(random_state, torch.get_rng_state()), "the global random state must be left as found"


def _problem() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(NUM_CLASSES, (NUM_SAMPLES,), generator=generator)
    logits = torch.randn(NUM_SAMPLES, NUM_CLASSES, generator=generator)
    index = torch.randperm(NUM_SAMPLES, generator=generator)
    return labels, logits, index


def _trained(make: Factory) -> tuple[TargetBuilder, Tensor, Tensor, Tensor]:
    """Return a builder after one epoch of uneven visits, with the problem it was trained on."""
    labels, logits, index = _problem()
    builder = make(labels, NUM_CLASSES)
    builder.update(index, logits)
    builder.update(index[:5], -logits[:5])
    builder.end_epoch()
    builder.update(index, 2 * logits)
    return builder, labels, logits, index


def _targets_are_distributions(make: Factory) -> None:
    builder, labels, _, index = _trained(make)
    targets = builder.targets(index, labels[index])
    assert targets.shape == (NUM_SAMPLES, NUM_CLASSES), f"targets must be (B, C), got {tuple(targets.shape)}"
    assert targets.dtype == torch.float32, f"targets must be float32, got {targets.dtype}"
    assert not targets.requires_grad, "targets must carry no gradient"
    assert (targets >= 0).all(), "targets must not be negative"
    sums = targets.double().sum(dim=1)
    assert (sums - 1).abs().max() < 1e-5, f"each row of targets must sum to 1, got {sums.min():.6f} to {sums.max():.6f}"


def _losses_are_per_sample(make: Factory) -> None:
    builder, labels, logits, index = _trained(make)
    labels = labels[index]
    for name, values in {
        "ordinary": logits,
        "half-precision": logits.half(),
        "bfloat16": logits.bfloat16(),
        "saturated": 50 * logits.sign(),
    }.items():
        leaf = values.clone().requires_grad_()
        losses = builder.loss(leaf, labels, index)
        assert losses.shape == (NUM_SAMPLES,), f"loss must return one value per sample, got {tuple(losses.shape)}"
        assert losses.dtype == torch.float32, f"losses must be float32, got {losses.dtype} for {name} logits"
        assert losses.isfinite().all(), f"losses must be finite for {name} logits"
        torch.autograd.backward(losses.sum())
        assert leaf.grad is not None, "the loss must be differentiable in the logits"
        assert leaf.grad.isfinite().all(), f"gradients must be finite for {name} logits"
    for size in (0, 1):
        losses = builder.loss(logits[:size], labels[:size], index[:size])
        assert losses.shape == (size,), f"a batch of {size} must give {size} losses, got {tuple(losses.shape)}"
        builder.update(index[:size], logits[:size])


def _loss_changes_nothing(make: Factory) -> None:
    builder, labels, logits, index = _trained(make)
    before = copy.deepcopy(builder.state_dict())
    first = builder.loss(logits, labels[index], index)
    builder.targets(index, labels[index])
    second = builder.loss(logits, labels[index], index)
    assert torch.equal(first, second), "two calls of loss with the same arguments must agree to the bit"
    _assert_same_state(before, builder.state_dict(), "loss and targets must change no state")


def _batch_equals_samples(make: Factory) -> None:
    builder, labels, logits, index = _trained(make)
    whole = builder.loss(logits, labels[index], index)
    parts = [builder.loss(logits[i : i + 1], labels[index[i : i + 1]], index[i : i + 1]) for i in range(NUM_SAMPLES)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-6), "the loss of a sample must not depend on its batch"


def _order_does_not_matter(make: Factory) -> None:
    labels, logits, index = _problem()
    index = torch.cat([index, index[:3]])  # repeats included
    logits = torch.cat([logits, -logits[:3]])
    reverse = torch.arange(len(index) - 1, -1, -1)
    results: list[Tensor] = []
    for order in (torch.arange(len(index)), reverse):
        builder = make(labels, NUM_CLASSES)
        builder.update(index[order], logits[order])
        builder.end_epoch()
        results.append(builder.loss(logits[:NUM_SAMPLES], labels[index[:NUM_SAMPLES]], index[:NUM_SAMPLES]))
    assert torch.allclose(results[0], results[1], atol=1e-6), (
        "an update must not depend on the order of samples in the batch"
    )


def _update_touches_its_own(make: Factory) -> None:
    builder, labels, logits, index = _trained(make)
    leaf = logits.clone().requires_grad_()
    rest = index[4:]
    before = builder.loss(logits[4:], labels[rest], rest)
    builder.update(index[:4], leaf[:4])
    after = builder.loss(logits[4:], labels[rest], rest)
    assert torch.equal(before, after), "an update must leave the samples that are not in the batch alone"
    assert torch.equal(leaf, logits), "an update must not change the logits it is given"
    assert leaf.grad is None, "an update must not touch gradients"


def _state_survives(make: Factory) -> None:
    builder, labels, logits, index = _trained(make)
    state = builder.state_dict()
    for name, value in state.items():
        assert isinstance(value, Tensor), f"state {name!r} must be a tensor to be stored, got {type(value)}"
    twin = make(labels, NUM_CLASSES)
    twin.load_state_dict(copy.deepcopy(state))
    copied = copy.deepcopy(builder)
    for step in range(3):
        losses = [each.loss(logits, labels[index], index) for each in (builder, twin, copied)]
        assert torch.equal(losses[0], losses[1]), f"state_dict must resume to the same bits, differs {step} steps on"
        assert torch.equal(losses[0], losses[2]), f"a deepcopy must go on to the same bits, differs {step} steps on"
        for each in (builder, twin, copied):
            each.update(index, logits - step)
            each.end_epoch()
    _assert_same_state(builder.state_dict(), twin.state_dict(), "a resumed builder must reach the same state")


def _memory_refuses_strangers(make: Factory) -> None:
    labels, logits, index = _problem()
    builder = make(labels, NUM_CLASSES)
    if builder.beliefs() is None:
        return
    for stranger in (-1, NUM_SAMPLES):
        wrong = torch.where(index == 0, stranger, index)
        try:
            builder.loss(logits, labels[index], wrong)
            builder.end_epoch()  # where a check would stall an accelerator it may wait until here
        except ValueError:
            continue
        raise AssertionError(f"an index of {stranger} for {NUM_SAMPLES} samples must raise ValueError")


def _reports_are_finite(make: Factory) -> None:
    builder, _, _, _ = _trained(make)
    for name, value in builder.monitors().items():
        assert isinstance(value, float), f"monitor {name!r} must be a float, got {type(value)}"
        assert math.isfinite(value), f"monitor {name!r} must be finite, got {value}"
    beliefs = builder.beliefs()
    if beliefs is not None:
        assert beliefs.shape == (NUM_SAMPLES, NUM_CLASSES), f"beliefs must be (N, C), got {tuple(beliefs.shape)}"
        assert (beliefs.sum(dim=1) - 1).abs().max() < 1e-5, "each row of beliefs must sum to 1"
        saved = {name: value.clone() for name, value in builder.state_dict().items()}
        beliefs.zero_()
        _assert_same_state(saved, builder.state_dict(), "beliefs must return a copy")


def _assert_same_state(first: dict[str, Tensor], second: dict[str, Tensor], promise: str) -> None:
    assert first.keys() == second.keys(), promise
    for name in first:
        assert torch.equal(first[name], second[name]), f"{promise}; {name!r} differs"
