import pytest
import torch

from trueline.measure import accuracy, brier, calibration_error, confidence_gap, log_loss, mean_scores


def test_each_score_is_the_mean_of_its_function(generator: torch.Generator) -> None:
    logits = torch.randn(200, 4, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    scores = mean_scores(labels, logits=logits)
    assert scores == {
        "accuracy": accuracy(labels, logits=logits).mean().item(),
        "log_loss": log_loss(labels, logits=logits).mean().item(),
        "brier": brier(labels, logits=logits).mean().item(),
        "ece": calibration_error(labels, logits=logits).item(),
        "confidence_gap": confidence_gap(labels, logits=logits).mean().item(),
    }
    assert mean_scores(labels, probs=logits.double().softmax(dim=1)) == pytest.approx(scores)


def test_sure_and_right_is_perfect() -> None:
    scores = mean_scores(torch.tensor([0, 1]), probs=torch.eye(2))
    assert scores == {"accuracy": 1.0, "log_loss": 0.0, "brier": 0.0, "ece": 0.0, "confidence_gap": 0.0}


def test_weights_are_repetitions(generator: torch.Generator) -> None:
    logits = torch.randn(200, 4, generator=generator)
    labels = torch.randint(4, (200,), generator=generator)
    times = torch.arange(200) % 3
    weighted = mean_scores(labels, logits=logits, weight=times.float())
    repeated = mean_scores(labels.repeat_interleave(times), logits=logits.repeat_interleave(times, dim=0))
    assert weighted == pytest.approx(repeated)
    assert mean_scores(labels, logits=logits, weight=torch.full((200,), 0.3)) == pytest.approx(
        mean_scores(labels, logits=logits)
    )


def test_weights_that_weigh_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="weight must be finite, at least zero and positive somewhere"):
        mean_scores(torch.tensor([0, 1]), probs=torch.eye(2), weight=torch.zeros(2))
