"""Audits of small made-up models, with names that try to break out of the page."""

import torch
from torch import Tensor

HOSTILE = "</script><script>alert(1)</script><!--\u2028"


def made_up(samples: int, classes: int, *, sharpness: float = 2.0, signal: float = 2.5) -> tuple[Tensor, Tensor]:
    """Return logits that overstate the probabilities their labels are drawn from, and these labels."""
    generator = torch.Generator().manual_seed(classes)
    logits = signal * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    labels = logits.softmax(1).multinomial(1, generator=generator).squeeze(1)
    return logits * sharpness, labels
