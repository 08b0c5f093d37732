import pytest
import torch
from torch import nn

from trueline.data import Transform, digits
from trueline.train._config import TrainingConfig
from trueline.train._device import run_device
from trueline.train._evaluate import Evaluator

TRAINING = TrainingConfig(epochs=1, batch_size=1, device="cpu")


def test_outputs_keep_the_order_and_do_not_depend_on_the_batch_size() -> None:
    examples = digits().train.select(torch.arange(50, 0, -1))
    transform = Transform((0.0,), (1.0,))
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.Dropout(0.5)).train()
    with run_device(TRAINING) as accelerator:
        logits = [Evaluator(examples, transform, size, accelerator, 0).logits(network) for size in (7, 50)]
    assert isinstance(examples.inputs, torch.Tensor)
    expected = network[1](examples.inputs.flatten(1) / 16)
    for found in logits:
        torch.testing.assert_close(found, expected.detach())
    assert network.training


def test_the_mode_is_put_back_after_an_error() -> None:
    network = nn.Linear(3, 10).train()
    with run_device(TRAINING) as accelerator:
        evaluator = Evaluator(digits().train, Transform((0.0,), (1.0,)), 100, accelerator, 0)
        with pytest.raises(RuntimeError, match="shapes"):
            evaluator.logits(network)
    assert network.training
