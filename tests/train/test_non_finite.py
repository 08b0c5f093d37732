from pathlib import Path

import pytest
import torch

from trueline.train import NonFiniteLossError
from trueline.train._non_finite import LossWatch

INDEX = torch.arange(10, 14)


def test_the_first_bad_step_is_named_with_its_samples_the_bad_ones_first() -> None:
    watch = LossWatch(Path("last"))
    watch.saved_step = 4
    watch.note(5, INDEX, torch.ones(4))
    watch.note(6, INDEX, torch.tensor([1.0, 1.0, torch.inf, 1.0]))
    watch.note(7, INDEX, torch.full((4,), torch.nan))
    with pytest.raises(NonFiniteLossError, match=r"the loss is inf at step 6; .* samples 12, 10, 11, 13") as error:
        watch.check()
    assert (error.value.step, error.value.index, error.value.checkpoint) == (6, (12, 10, 11, 13), Path("last"))
    assert "the last good checkpoint is last (step 4)" in str(error.value)


def test_without_a_checkpoint_it_says_so() -> None:
    watch = LossWatch(Path("last"))
    watch.note(1, INDEX, torch.full((4,), torch.nan))
    with pytest.raises(NonFiniteLossError, match="nothing was saved"):
        watch.check()


def test_finite_losses_pass_and_are_forgotten() -> None:
    watch = LossWatch(Path("last"))
    watch.check()
    watch.note(1, INDEX, torch.full((4,), 3e38))  # their sum is not finite in float32
    watch.note(2, INDEX, torch.ones(4))
    watch.check()
    watch.check()


def test_long_batches_are_cut_in_the_message_only() -> None:
    error = NonFiniteLossError("the loss is nan", 1, range(30), None, 0)
    assert "18, 19 and 10 more" in str(error)
    assert len(error.index) == 30
