"""The study of gradient regularisation in small, and the eigenvalue that it reports."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from trueline.recipes import _gradient_regularisation_digits as study
from trueline.recipes import gradient_regularisation_digits


def test_the_study_in_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn")
    monkeypatch.setattr(study, "STEPS", 3)
    before = torch.get_rng_state()
    experiment = gradient_regularisation_digits()
    found = experiment.measure(0)
    assert torch.equal(before, torch.get_rng_state())
    assert found == experiment.measure(0)
    assert set(found) == set(experiment.variants)
    for claim in experiment.claims:
        for name in (claim.variant, claim.baseline):
            assert math.isfinite(found[name][claim.metric])
    passes = {name: scores["forward_passes"] for name, scores in found.items()}
    assert passes.pop("sgd") == passes.pop("double, gamma 0.05") == 1
    assert set(passes.values()) == {2}


def test_sharpness_is_the_largest_eigenvalue_of_the_whole_hessian(generator: torch.Generator) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs, labels = torch.randn(20, 4, generator=generator, dtype=torch.float64), torch.arange(20) % 3
    sizes = [parameter.shape for parameter in model.parameters()]

    def loss(at: torch.Tensor) -> torch.Tensor:
        parts = [part.view(size) for part, size in zip(at.split([s.numel() for s in sizes]), sizes, strict=True)]
        hidden = torch.tanh(inputs @ parts[0].T + parts[1])
        return F.cross_entropy(hidden @ parts[2].T + parts[3], labels)

    at = nn.utils.parameters_to_vector(model.parameters()).detach()
    squared, sharpness = study._curvature(model, inputs, labels)
    hessian = torch.autograd.functional.hessian(loss, at)
    assert squared == pytest.approx(torch.autograd.functional.jacobian(loss, at).square().sum().item())
    assert sharpness == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-5)
