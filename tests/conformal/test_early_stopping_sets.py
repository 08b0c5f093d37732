"""Early stopping and calibration on the same samples, classification: one checkpoint, slow twin, exact coverage."""

import math
import warnings

import pytest
import torch
from oracles import early_stopping as oracle

from trueline.conformal import APS, LAC, ClassConditional, ConformalEarlyStopping, NoiseAware
from trueline.contracts import facts_of, load


def _draw(
    generator: torch.Generator, checkpoints: int = 6, n: int = 40, m: int = 15, classes: int = 3
) -> tuple[torch.Tensor, ...]:
    logits = torch.randn(checkpoints, n + m, classes, generator=generator, dtype=torch.float64)
    labels = torch.multinomial(logits.mean(dim=0).softmax(dim=1), 1, generator=generator).squeeze(1)
    return labels[:n], logits[:, :n], labels[n:], logits[:, n:]


@pytest.mark.parametrize("conditional", [False, True])
def test_the_slow_twin_gives_the_same_p_values(generator: torch.Generator, conditional: bool) -> None:
    labels, logits, _, new = _draw(generator)
    stopped = ConformalEarlyStopping(LAC(0.2), label_conditional=conditional).fit(labels, logits=logits)
    p_values = stopped.p_values(logits=new)
    for row in range(new.shape[1]):
        expected = oracle.class_p_values(
            logits.softmax(dim=2).tolist(), labels.tolist(), new[:, row].softmax(dim=1).tolist(), conditional
        )
        assert p_values[row].tolist() == pytest.approx(expected)
    assert torch.equal(stopped.predict_set(logits=new), p_values > 0.2 + 1e-12)
    assert len(stopped.chosen(logits=new).unique()) > 1


@pytest.mark.parametrize("method", [LAC(0.15), APS(0.15), APS(0.15, allow_empty=False)])
def test_one_checkpoint_is_the_method(generator: torch.Generator, method) -> None:
    labels, logits, _, new = _draw(generator, checkpoints=1)
    index = torch.arange(100, 115)
    stopped = ConformalEarlyStopping(method).fit(labels, logits=logits)
    alone = method.unfitted().fit(labels, logits=logits[0])
    assert torch.equal(stopped.predict_set(logits=new, index=index), alone.predict_set(logits=new[0], index=index))
    assert torch.equal(stopped.p_values(logits=new, index=index), alone.p_values(logits=new[0], index=index))


def test_a_checkpoint_that_is_far_ahead_decides_alone(generator: torch.Generator) -> None:
    labels, logits, _, new = _draw(generator, n=300)
    logits[4] = 5.0 * torch.nn.functional.one_hot(labels, 3)
    stopped = ConformalEarlyStopping(LAC(0.1)).fit(labels, logits=logits)
    assert stopped.best_ == 4
    assert (stopped.chosen(logits=new) == 4).all()
    assert torch.equal(
        stopped.predict_set(logits=new), LAC(0.1).fit(labels, logits=logits[4]).predict_set(logits=new[4])
    )


def test_of_equal_checkpoints_the_first_is_chosen(generator: torch.Generator) -> None:
    labels, logits, _, new = _draw(generator, checkpoints=1)
    stopped = ConformalEarlyStopping(LAC(0.1)).fit(labels, logits=logits.expand(3, -1, -1))
    assert stopped.best_ == 0
    assert (stopped.chosen(logits=new.expand(3, -1, -1)) == 0).all()


def test_logits_probabilities_and_one_column_say_the_same(generator: torch.Generator) -> None:
    labels, logits, _, new = _draw(generator, classes=2)
    first = ConformalEarlyStopping(LAC(0.1)).fit(labels, logits=logits).p_values(logits=new)
    second = ConformalEarlyStopping(LAC(0.1)).fit(labels, probs=logits.softmax(2)).p_values(probs=new.softmax(2))
    odds, new_odds = (v[..., 1] - v[..., 0] for v in (logits, new))
    third = ConformalEarlyStopping(LAC(0.1)).fit(labels, logits=odds).p_values(logits=new_odds)
    assert torch.equal(first, second)
    assert torch.equal(first, third)


def test_coverage_is_exact_where_plain_reuse_covers_too_seldom() -> None:
    """Checkpoints that only guess: the label is in the set in 18 of 20 cases, in the best one's own sets less often."""
    generator = torch.Generator().manual_seed(1)
    covered, naive, repeats = 0, 0, 80
    for _ in range(repeats):
        labels = torch.randint(5, (29,), generator=generator)
        logits = torch.randn(16, 29, 5, generator=generator, dtype=torch.float64)
        known, new, label = logits[:, :19], logits[:, 19:], labels[19:]
        stopped = ConformalEarlyStopping(LAC(0.1)).fit(labels[:19], logits=known)
        covered += int(stopped.predict_set(logits=new)[torch.arange(10), label].sum())
        best = LAC(0.1).fit(labels[:19], logits=known[stopped.best_]).predict_set(logits=new[stopped.best_])
        naive += int(best[torch.arange(10), label].sum())
    # Ten samples share a calibration set; beta-binomial, so that the variance is at most this much.
    spread = math.sqrt(0.09 / repeats * (1 / 10 + 1 / 21))
    assert abs(covered / (10 * repeats) - 18 / 20) <= 3.5 * spread
    assert naive / (10 * repeats) < 0.9 - 3.5 * spread


def test_label_conditional_sets_hold_a_class_without_samples(generator: torch.Generator) -> None:
    labels, logits, _, new = _draw(generator)
    labels = labels.clamp_max(1)
    with pytest.warns(UserWarning, match="too few for alpha = 0.1, only 0 in the smallest class"):
        stopped = ConformalEarlyStopping(LAC(0.1), label_conditional=True).fit(labels, logits=logits)
    assert stopped.predict_set(logits=new)[:, 2].all()
    assert (stopped.p_values(logits=new)[:, 2] == 1).all()


def test_it_is_saved_and_read(generator: torch.Generator, tmp_path) -> None:
    labels, logits, _, new = _draw(generator)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stopped = ConformalEarlyStopping(APS(0.1, seed=3), label_conditional=True).fit(labels, logits=logits.float())
    read = load(stopped.save(tmp_path / "ces"), known=[ConformalEarlyStopping])
    assert torch.equal(read.predict_set(logits=new), stopped.predict_set(logits=new))
    assert repr(read) == repr(stopped)
    assert facts_of(ConformalEarlyStopping).references[0].year == 2023


def test_what_does_not_fit_is_refused(generator: torch.Generator) -> None:
    labels, logits, _, new = _draw(generator)
    stopped = ConformalEarlyStopping(LAC(0.1))
    with pytest.raises(RuntimeError, match="is not fitted"):
        stopped.predict_set(logits=new)
    with pytest.raises(ValueError, match="exactly one of logits= and probs=, got neither"):
        stopped.fit(labels)
    with pytest.raises(ValueError, match=r"shape \(T, N, C\)"):
        stopped.fit(labels, logits=logits[:0])
    with pytest.raises(ValueError, match=r"logits must be \(T, N, C\).* got \(40, 3\); .* pass logits\[None\]"):
        ConformalEarlyStopping.fit.__wrapped__(stopped, labels, logits=logits[0])
    for wrapped in (ClassConditional(LAC(0.1)), NoiseAware(LAC(0.1), 0.2)):
        with pytest.raises(ValueError, match="has a calibration of its own, which would not be used here"):
            ConformalEarlyStopping(wrapped)
    stopped.fit(labels, logits=logits)
    with pytest.raises(ValueError, match="predictions of the 6 checkpoints of the fit, got 2"):
        stopped.p_values(logits=new[:2])
    with pytest.raises(ValueError, match="fitted to 3 classes, got predictions of 2"):
        stopped.p_values(logits=new[..., :2])
