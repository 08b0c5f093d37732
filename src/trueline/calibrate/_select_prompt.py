"""Choice of a prompt without labels, by Yang, Kim, Jang, Ye, Lee and Seo (2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from trueline.calibrate._marginal_calibration import YANG, MarginalCalibration
from trueline.calibrate._prompt_scores import PromptScore, prompt_scores, read_prompts
from trueline.contracts import ACCENT, Record, import_optional, method, plain_chart


@dataclass(frozen=True, eq=False)
class PromptChoice(Record):
    """Which prompt is chosen, for all inputs or for each, and what it answers.

    Args:
        prompt: (N,) the prompt whose answer is taken for each input, the lowest of those that tie.
        log_probs: (N, C) log-probabilities of the answers by that prompt, calibrated where that was asked for.
        scores: (T,) score of each prompt, or (T, N) for each input.
        score: the name of the score.
        calibration: where calibration by marginalisation was used.
    """

    prompt: Int64[Tensor, " N"]
    log_probs: Float[Tensor, "N C"]
    scores: Float[Tensor, "T *N"]
    score: str
    calibration: str
    units: ClassVar[Mapping[str, str]] = {
        "prompt": "prompts, from 0",
        "log_probs": "nats",
        "scores": "nats; shares of inputs for ZLP, ZPM and ZMV; perplexities for PPL and PPL_L",
    }

    @property
    def share(self) -> Float[Tensor, " T"]:
        """The share of inputs that each prompt is chosen for."""
        return self.prompt.bincount(minlength=len(self.scores)).double() / len(self.prompt)

    def __str__(self) -> str:
        """Say which prompt is chosen, by how much, and on what it rests."""
        prompts = len(self.scores)
        best = int(self.share.argmax())
        base = f"{self.score} over {len(self.prompt)} unlabelled inputs"
        if self.scores.ndim == 2:
            used = int((self.share > 0).sum())
            return (
                f"Chosen for each input by {base}: {used} of {prompts} prompts are used, prompt {best} most often "
                f"({self.share[best]:.0%})."
            )
        if prompts == 1:
            return f"Prompt 0 is the only one; {base}: {self.scores[0]:.4g}."
        first, second = self.scores.topk(2).values.tolist()
        return f"Prompt {best} of {prompts} by {base}: {first:.4g}, {first - second:.2g} above the next."

    def plot(self) -> Any:
        """Return an Altair chart: the score of each prompt, or the share of inputs that it is chosen for.

        Raises:
            ImportError: if the ``report`` extra is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="PromptChoice.plot()")
        values, title = (self.scores, self.score) if self.scores.ndim == 1 else (self.share, "share of inputs")
        rows = [{"prompt": t, "value": value} for t, value in enumerate(values.tolist())]
        x = alt.X("prompt:O", title="prompt")
        y = alt.Y("value:Q", title=title)
        tooltip = [alt.Tooltip("prompt:O"), alt.Tooltip("value:Q", format=".4g", title=title)]
        return plain_chart(alt.Chart(alt.Data(values=rows)).mark_bar(color=ACCENT).encode(x=x, y=y, tooltip=tooltip))


@method(YANG, cost="a few passes over the (T, N, C) probabilities")
def select_prompt(
    *,
    logits: Float[Tensor, "T N C"] | None = None,
    probs: Float[Tensor, "T N C"] | None = None,
    score: PromptScore = "MI",
    calibration: Literal["none", "answers", "selection", "both"] = "none",
    perplexity: Float[Tensor, "T N"] | None = None,
) -> PromptChoice:
    """Choose the best of T prompts without labels, from the probabilities that each gives the answers to N inputs.

    The prompt with the largest of :func:`prompt_scores` is taken: one for all inputs, or one for each with MI_L, MI_GL,
    MDL and PPL_L. Each prompt's probabilities can first be divided by their mean over the inputs, with
    :class:`MarginalCalibration`: for its answers, for its score, or for both, which the paper found best. That
    assumes that the classes are about equally frequent.

    Args:
        logits: (T, N, C) scores of the C answers to N inputs by T prompts; or None.
        probs: (T, N, C) probabilities, each row summing to one; or None.
        score: which score, in the names of the paper; see :func:`prompt_scores`.
        calibration: where to calibrate: ``"none"``, ``"answers"``, ``"selection"`` or ``"both"``.
        perplexity: (T, N) of each prompt with its input, for PPL and PPL_L alone.

    Returns:
        The chosen prompt and its answers for each input, and all scores.

    Raises:
        ValueError: if the score or the calibration is unknown, or the predictions are not what is described above.
        TypeError: if a dtype is wrong.

    Example:
        >>> stuck = torch.tensor([[0.9, 0.1], [0.9, 0.1]])
        >>> sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> choice = select_prompt(probs=torch.stack([stuck, sure]))
        >>> print(choice)
        Prompt 1 of 2 by MI over 2 unlabelled inputs: 0.6931, 0.69 above the next.
        >>> choice.log_probs.argmax(dim=1).tolist()
        [0, 1]
    """
    if calibration not in ("none", "answers", "selection", "both"):
        raise ValueError(f"calibration must be 'none', 'answers', 'selection' or 'both', got {calibration!r}")
    plain = read_prompts(logits=logits, probs=probs)
    divided = plain
    if calibration != "none":
        divided = torch.stack([MarginalCalibration().fit(logits=rows).transform(logits=rows) for rows in plain])
    answers = divided if calibration in ("answers", "both") else plain
    if score in ("PPL", "PPL_L"):
        if perplexity is not None and perplexity.shape != plain.shape[:2]:
            raise ValueError(f"perplexity must have shape {tuple(plain.shape[:2])}, got {tuple(perplexity.shape)}")
        scores = prompt_scores(score, perplexity=perplexity)
    else:
        scored = divided if calibration in ("selection", "both") else plain
        scores = prompt_scores(score, logits=scored, perplexity=perplexity)
    best = scores.argmax(dim=0)
    prompt = best.expand(plain.shape[1]).clone()
    return PromptChoice(
        prompt=prompt,
        log_probs=answers[prompt, torch.arange(plain.shape[1], device=plain.device)],
        scores=scores,
        score=score,
        calibration=calibration,
    )
