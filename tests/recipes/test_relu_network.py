import torch
from torch import nn
from torch.nn import functional as F

from trueline.recipes._relu_network import fit_full_batch, log_odds, relu_network


def test_the_draw_depends_on_the_seed_and_leaves_the_global_state() -> None:
    before = torch.get_rng_state()
    one, same, other = (relu_network((2, 5, 3, 1), seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert [type(layer) for layer in one] == [nn.Linear, nn.ReLU, nn.Linear, nn.ReLU, nn.Linear]
    assert [layer.out_features for layer in one[::2]] == [5, 3, 1]
    assert torch.equal(one[0].weight, same[0].weight)
    assert not torch.equal(one[0].weight, other[0].weight)


def test_training_follows_adamw_and_its_schedule(generator: torch.Generator) -> None:
    inputs, labels = torch.randn(20, 2, generator=generator), torch.arange(20) % 2
    model, slow = relu_network((2, 4, 1), 0), relu_network((2, 4, 1), 0)
    fit_full_batch(model, inputs, labels, learning_rate=0.1, steps=3, factor=lambda step: 0.5**step)
    optimizer = torch.optim.AdamW(slow.parameters(), lr=0.1)
    for rate in (0.1, 0.05, 0.025):
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(slow(inputs)[:, 0], labels.float()).backward()
        optimizer.step()
    torch.testing.assert_close(log_odds(model, inputs), slow(inputs)[:, 0].detach())


def test_frozen_weights_stay(generator: torch.Generator) -> None:
    inputs, labels = torch.randn(20, 2, generator=generator), torch.arange(20) % 2
    model = relu_network((2, 4, 1), 0)
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit_full_batch(model, inputs, labels, learning_rate=0.1, steps=3)
    assert torch.equal(model[0].weight, before)
    assert not log_odds(model, inputs).requires_grad
