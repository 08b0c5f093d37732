"""The map that changes nothing."""

import torch

from trueline.calibrate import Identity
from trueline.contracts import check_calibrator


def test_it_keeps_the_contract() -> None:
    check_calibrator(Identity)


def test_it_changes_nothing(generator: torch.Generator) -> None:
    logits = 5 * torch.randn(20, 3, generator=generator, dtype=torch.float64)
    fitted = Identity().fit(torch.zeros(20, dtype=torch.int64), logits=logits)
    assert torch.allclose(fitted.transform(logits=logits), logits.log_softmax(dim=1), rtol=1e-14)
    assert fitted.n_parameters(1000) == 0
