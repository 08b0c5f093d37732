"""Scores of prompts and the choice of one: the slow twin, closed forms, ties, calibration where it is asked for."""

import json
import math
from typing import get_args

import pytest
import torch
from oracles import prompts as oracle

from trueline.calibrate import MarginalCalibration, prompt_scores, select_prompt
from trueline.calibrate._prompt_scores import PromptScore

FROM_PROBS = [name for name in get_args(PromptScore) if not name.startswith("PPL")]


def _draw(generator: torch.Generator, prompts: int = 5, samples: int = 20, classes: int = 3) -> torch.Tensor:
    scale = torch.linspace(0.3, 3, prompts, dtype=torch.float64)[:, None, None]
    logits = scale * torch.randn(prompts, samples, classes, generator=generator, dtype=torch.float64)
    return logits.softmax(dim=2)


@pytest.mark.parametrize("score", FROM_PROBS)
def test_the_slow_twin_gives_the_same(score: str, generator: torch.Generator) -> None:
    probs = _draw(generator)
    expected = torch.tensor(oracle.score(score, probs.tolist()), dtype=torch.float64)
    assert torch.allclose(prompt_scores(score, probs=probs), expected)
    assert torch.allclose(prompt_scores(score, logits=probs.log() + 5), expected)


def test_information_is_zero_where_the_input_does_not_matter(generator: torch.Generator) -> None:
    probs = _draw(generator)
    assert (prompt_scores("MI", probs=probs) > 0).all()
    same = probs[:, :1].expand(-1, 20, -1)
    assert prompt_scores("MI", probs=same).tolist() == pytest.approx([0] * 5, abs=1e-12)


def test_certain_and_balanced_answers_have_closed_forms() -> None:
    """One-hot answers over C balanced classes: ln C of information, no local entropy, and agreement with themselves."""
    probs = torch.eye(4).repeat(3, 1)[None]
    expected = {"MI": math.log(4), "MI_G": math.log(4), "GE": math.log(4), "GE_M": math.log(4), "LE": 0, "MDL_M": 0}
    for name, value in {**expected, "ZLP": 1, "ZPM": 1, "ZMV": 1}.items():
        assert prompt_scores(name, probs=probs).item() == pytest.approx(value, abs=1e-12), name
    uniform = torch.full((1, 2, 4), 0.25)
    assert prompt_scores("LE", probs=uniform).item() == pytest.approx(math.log(4))
    assert prompt_scores("GE", probs=uniform).item() == 0  # ties go to the first answer


def test_instance_scores_average_to_the_global_ones(generator: torch.Generator) -> None:
    probs = _draw(generator)
    for local, overall in {"MI_L": "MI", "MI_GL": "MI_G", "MDL": "MDL_M"}.items():
        assert prompt_scores(local, probs=probs).shape == (5, 20)
        assert torch.allclose(prompt_scores(local, probs=probs).mean(dim=1), prompt_scores(overall, probs=probs))
    assert torch.allclose(prompt_scores("LE", probs=probs), -prompt_scores("MDL_M", probs=probs))


def test_small_perplexities_win(generator: torch.Generator) -> None:
    probs = _draw(generator, 3, 2)
    perplexity = torch.tensor([[9.0, 2.0], [5.0, 5.0], [4.0, 8.0]])
    overall = select_prompt(probs=probs, score="PPL", perplexity=perplexity)
    assert overall.prompt.tolist() == [1, 1]
    each = select_prompt(probs=probs, score="PPL_L", perplexity=perplexity)
    assert each.prompt.tolist() == [2, 0]
    assert torch.equal(each.scores, -perplexity.double())
    with pytest.raises(ValueError, match="PPL needs perplexity="):
        select_prompt(probs=probs, score="PPL")
    with pytest.raises(ValueError, match="perplexity must be finite and positive"):
        select_prompt(probs=probs, score="PPL", perplexity=0 * perplexity)
    with pytest.raises(ValueError, match="is for PPL and PPL_L, MI needs"):
        prompt_scores("MI", probs=probs, perplexity=perplexity)
    with pytest.raises((ValueError, TypeError)):
        select_prompt(probs=probs, score="PPL", perplexity=perplexity[:2])


@pytest.mark.parametrize("score", FROM_PROBS)
def test_the_chosen_prompt_has_the_largest_score_and_gives_the_answers(score: str, generator: torch.Generator) -> None:
    probs = _draw(generator)
    choice = select_prompt(probs=probs, score=score)
    scores = prompt_scores(score, probs=probs)
    assert torch.allclose(choice.scores, scores)
    for x, t in enumerate(choice.prompt.tolist()):
        column = scores if scores.ndim == 1 else scores[:, x]
        assert column[t] == column.max()
        assert torch.allclose(choice.log_probs[x].exp(), probs[t, x])
    assert choice.share.sum().item() == pytest.approx(1)


def test_calibration_goes_where_it_is_asked_for(generator: torch.Generator) -> None:
    probs = _draw(generator)
    divided = torch.stack([MarginalCalibration().fit(probs=p).predict_proba(probs=p) for p in probs])
    for where in ("none", "answers", "selection", "both"):
        choice = select_prompt(probs=probs, score="MI_L", calibration=where)
        scored = divided if where in ("selection", "both") else probs
        answered = divided if where in ("answers", "both") else probs
        assert torch.allclose(choice.scores, prompt_scores("MI_L", probs=scored))
        expected = answered[choice.prompt, torch.arange(20)]
        assert torch.allclose(choice.log_probs.exp(), expected)


def test_the_informative_prompt_is_found_without_labels(generator: torch.Generator) -> None:
    """One prompt knows the labels, four are noise; MI finds it, and calibration repairs its biased answers."""
    labels = torch.arange(300) % 3
    for seed in range(3):
        noise = torch.randn(5, 300, 3, generator=generator.manual_seed(seed))
        noise[3] += 4 * torch.nn.functional.one_hot(labels, 3)
        noise += torch.tensor([4.0, 0.0, 0.0])
        plain, both = (select_prompt(logits=noise, calibration=where) for where in ("none", "both"))
        right = [(c.log_probs.argmax(dim=1) == labels).double().mean().item() for c in (plain, both)]
        assert plain.prompt[0] == both.prompt[0] == 3
        assert right[1] > 0.85 > right[0] + 0.1


def test_end_cases_and_bad_input() -> None:
    one = select_prompt(probs=torch.tensor([[[0.0, 1.0]]]))
    assert one.prompt.tolist() == [0]
    assert "the only one" in str(one)
    ties = select_prompt(probs=torch.full((3, 4, 2), 0.5), score="MDL")
    assert ties.prompt.tolist() == [0, 0, 0, 0]
    assert "1 of 3 prompts are used" in str(ties)
    with pytest.raises((ValueError, TypeError)):
        select_prompt(probs=torch.full((4, 2), 0.5))
    with pytest.raises(ValueError, match=r"C >= 2 answers, got \(3, 4, 1\)"):
        select_prompt(probs=torch.ones(3, 4, 1))
    with pytest.raises(ValueError, match="exactly one of logits= and probs="):
        select_prompt()
    with pytest.raises((ValueError, TypeError)):
        select_prompt(probs=torch.full((3, 4, 2), 0.5), score="BEST")
    with pytest.raises((ValueError, TypeError)):
        select_prompt(probs=torch.full((3, 4, 2), 0.5), calibration="all")


def test_the_record_is_plain_said_and_drawn(generator: torch.Generator) -> None:
    for score in ("MI", "MI_GL"):
        choice = select_prompt(probs=_draw(generator), score=score)
        assert json.loads(json.dumps(choice.to_dict()))["score"] == score
        assert score in str(choice)
        assert choice.plot().to_dict()["mark"]["type"] == "bar"
