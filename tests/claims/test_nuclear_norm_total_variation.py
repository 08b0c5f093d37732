"""In one dimension the nuclear norm of the Jacobian is the total variation, whose minimiser is known: `make claims`.

The target is 1 on [-1, 1] and 0 elsewhere, for x uniform on [-4, 4]. Of all functions, the one with the least
``E[½(f - t)²] + η·E|f'|`` is flat on each piece: ``1 - η`` inside, since two jumps pull on a length of 2, and ``η/3``
outside, where one jump pulls on a length of 3.
"""

import pytest
import torch
from torch import nn

from trueline.regularize import jacobian_nuclear_norm_penalty

STEPS, BATCH, RATE = 12_000, 256, 2e-3
SEEDS = range(3)


def networks(seed: int) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(1, 64), nn.ELU(), nn.Linear(64, 64))
        head = nn.Sequential(nn.Linear(64, 64), nn.ELU(), nn.Linear(64, 1))
    return encoder, head


def exact(encoder: nn.Module, head: nn.Module, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    point = inputs.clone().requires_grad_()
    outputs = head(encoder(point))
    (slope,) = torch.autograd.grad(outputs.sum(), point, create_graph=True)
    return outputs, slope.abs().squeeze(1)


def plateaus(seed: int, eta: float, *, factorised: bool, steps: int = STEPS) -> tuple[float, float, float]:
    """Train, and return the means well inside and well outside the jumps, and the balance of the two terms."""
    encoder, head = networks(seed)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([*encoder.parameters(), *head.parameters()], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        inputs = 8 * torch.rand(BATCH, 1, generator=generator) - 4
        targets = (inputs.abs() <= 1).float()
        if factorised:
            terms = jacobian_nuclear_norm_penalty(encoder, head, inputs, generator=generator)
            outputs, penalty = terms.outputs, terms.penalty
        else:
            outputs, penalty = exact(encoder, head, inputs)
        loss = (outputs - targets).square().mean() / 2 + eta * penalty.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    grid = torch.linspace(-4, 4, 1601)[:, None]
    inside, outside = grid.abs().squeeze(1) < 0.8, grid.abs().squeeze(1) > 1.2
    with torch.no_grad():
        values = head(encoder(grid)).squeeze(1)
        # Many draws, since a few places at the jumps hold nearly all of both terms.
        terms = jacobian_nuclear_norm_penalty(encoder, head, grid.repeat(100, 1), generator=generator)
    return values[inside].mean().item(), values[outside].mean().item(), terms.balance


@pytest.mark.claim
@pytest.mark.slow
def test_the_factorised_penalty_finds_the_minimiser_of_the_total_variation() -> None:
    eta = 0.1
    for factorised in (True, False):
        found = torch.tensor([plateaus(seed, eta, factorised=factorised) for seed in SEEDS])
        inside, outside, balance = found.mean(dim=0).tolist()
        print(
            f"{'factorised' if factorised else 'exact'}: inside {inside:.4f} (theory {1 - eta:.4f}), outside "
            f"{outside:.4f} (theory {eta / 3:.4f}), balance {balance:.3f}, over {len(SEEDS)} seeds\n{found}"
        )
        torch.testing.assert_close(found[:, 0], torch.full((len(SEEDS),), 1 - eta), rtol=0, atol=0.02)
        torch.testing.assert_close(found[:, 1], torch.full((len(SEEDS),), eta / 3), rtol=0, atol=0.02)
        if factorised:
            torch.testing.assert_close(found[:, 2].log(), torch.zeros(len(SEEDS)), rtol=0, atol=0.7)
