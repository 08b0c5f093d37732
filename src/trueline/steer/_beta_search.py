"""What a search for the one number of steering found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import ACCENT, NEUTRAL, import_optional, plain_chart, unknown_name
from trueline.measure import MEASURES, Evaluation, accuracy, brier, calibration_error, evaluate, log_loss
from trueline.steer._linear_heads import LinearHeads
from trueline.steer._recalibrate import recalibrate_batch_norm
from trueline.steer._steer import set_beta
from trueline.steer._twin import twin_of

BETA_GRID = (*(round(0.70 + 0.01 * step, 2) for step in range(30)), 1.0)
"""The 30 values of the paper, and 1, which is the model as it was."""

Metric = str | Callable[[nn.Module, Tensor, Tensor], float]
Progress = Callable[[int, int], None]
# Those that are read off the logits at once; the others come with all measures and their intervals.
_QUICK: dict[str, Callable[..., Tensor | float]] = {
    "accuracy": accuracy,
    "log_loss": log_loss,
    "brier": brier,
    "ece": calibration_error,
}


@dataclass(frozen=True, eq=False)
class BetaSearch:
    """What a search found: the whole curve, and the model at the chosen point.

    Args:
        metric: name of what was compared.
        best: whether ``"high"`` or ``"low"`` values are better, or those near ``"zero"``.
        betas: what was tried, ascending; the last is 1, the model as it was.
        values: the metric at each, on the validation data.
        beta: the chosen one.
        model: the steered twin at the chosen β, in evaluation mode.
        labels: (N,) labels of the validation data.
        logits: (K, N, C) what each β predicts for them, float32 on the CPU.
        heads: the linear heads, one for each β, where heads were fitted.
    """

    metric: str
    best: Literal["high", "low", "zero"]
    betas: tuple[float, ...]
    values: tuple[float, ...]
    beta: float
    model: nn.Module = field(repr=False)
    labels: Int64[Tensor, " N"] = field(repr=False)
    logits: Float[Tensor, "K N C"] = field(repr=False)
    heads: LinearHeads | None = field(repr=False, default=None)

    @property
    def value(self) -> float:
        """The metric at the chosen β."""
        return self.values[self.betas.index(self.beta)]

    @property
    def original(self) -> float:
        """The metric of the model as it was."""
        return self.values[-1]

    def evaluation(self, beta: float) -> Evaluation:
        """Return every measure at one of the tried β, with intervals, on the validation data.

        Args:
            beta: one of ``betas``.

        Raises:
            ValueError: if it was not tried.
        """
        if beta not in self.betas:
            raise ValueError(
                f"beta = {beta} was not tried; tried were {', '.join(f'{tried:g}' for tried in self.betas)}"
            )
        return evaluate(self.labels, logits=self.logits[self.betas.index(beta)])

    def to_dict(self) -> dict[str, Any]:
        """Return the curve as plain numbers and lists that JSON can hold."""
        return {
            "metric": self.metric,
            "best": self.best,
            "betas": list(self.betas),
            "values": list(self.values),
            "beta": self.beta,
            "value": self.value,
            "original": self.original,
        }

    def plot(self) -> Any:
        """Return a chart of the metric against β, with the chosen point.

        Raises:
            ImportError: if the extra ``report`` is not installed.
        """
        alt = import_optional("altair", extra="report", purpose="BetaSearch.plot()")
        rows = [{"beta": beta, "value": value} for beta, value in zip(self.betas, self.values, strict=True)]
        title = MEASURES[self.metric].title if self.metric in MEASURES else self.metric
        x = alt.X("beta:Q", title="β (1 is the model as it was)", scale=alt.Scale(zero=False))
        y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
        base = alt.Chart(alt.Data(values=rows)).encode(x=x, y=y)
        chosen = base.transform_filter(f"datum.beta === {self.beta}").mark_point(filled=True, size=120, color=ACCENT)
        return plain_chart(alt.layer(base.mark_line(point=True, color=NEUTRAL), chosen))

    def __str__(self) -> str:
        moved = f"{self.metric} {self.value:.4g} at beta = {self.beta:g} against {self.original:.4g} unsteered"
        return f"{moved}, on {len(self.labels)} validation samples, best of {len(self.betas)}"


def every(
    betas: Sequence[float], batches: Sequence[Tensor], device: torch.device, progress: Progress
) -> Iterator[tuple[int, Tensor]]:
    """Yield every batch with every beta in turn.

    Args:
        betas: what is tried.
        batches: batches of inputs.
        device: where the inputs are moved.
        progress: receives the number of passes done and in all.

    Yields:
        Position of the beta, and the batch.
    """
    done = 0
    for batch in batches:
        moved = batch.to(device)
        for k in range(len(betas)):
            yield k, moved
            done += 1
            progress(done, len(batches) * len(betas))


def read_options(
    betas: Sequence[float], metric: Metric, higher: bool
) -> tuple[tuple[float, ...], Literal["high", "low", "zero"]]:
    """Return what is tried, ascending and with 1, and which values of the metric are best.

    Args:
        betas: what the caller wants to try.
        metric: name or function.
        higher: whether more of a function is better.

    Raises:
        ValueError: if a beta is out of range or a name unknown.
    """
    tried = tuple(sorted({*map(float, betas), 1.0}))
    if not 0 <= tried[0] <= tried[-1] <= 1:
        raise ValueError(f"betas must lie in [0, 1], got {tried[0]:g} to {tried[-1]:g}")
    if isinstance(metric, str):
        if metric not in MEASURES:
            raise ValueError(unknown_name("metric", metric, MEASURES))
        return tried, MEASURES[metric].best
    return tried, "high" if higher else "low"


def recalibrated(twin: nn.Module, beta: float, batches: Iterable[Any], device: torch.device) -> nn.Module:
    """Return a twin with running statistics of its own, taken at one beta.

    Args:
        twin: a steered twin.
        beta: in [0, 1].
        batches: unlabelled inputs.
        device: where they are moved.
    """
    own = twin_of(twin)
    set_beta(own, beta)
    recalibrate_batch_norm(own, (batch.to(device) if isinstance(batch, Tensor) else batch for batch in batches))
    return own


def value(metric: str, labels: Tensor, logits: Tensor) -> float:
    """Return a measure of predictions as one number.

    Args:
        metric: a key of ``MEASURES``.
        labels: (N,) class numbers.
        logits: (N, C) predictions.
    """
    quick = _QUICK.get(metric)
    if quick is None:
        return evaluate(labels, logits=logits).scores[metric].value
    found = quick(labels, logits=logits)
    return float(found.double().mean()) if isinstance(found, Tensor) else found


def chosen(
    metric: Metric,
    best: Literal["high", "low", "zero"],
    betas: tuple[float, ...],
    values: Sequence[float],
    twins: dict[float, nn.Module],
    labels: Tensor,
    logits: Tensor,
    heads: LinearHeads | None = None,
) -> BetaSearch:
    """Choose the best beta, and set its twin to it.

    Args:
        metric: name or function.
        best: which of its values are best.
        betas: what was tried, ascending.
        values: the metric at each.
        twins: the steered twin for each.
        labels: (N,) labels of the validation data.
        logits: (K, N, C) predictions.
        heads: the heads, where they were fitted.
    """
    badness = {"high": lambda v: -v, "low": lambda v: v, "zero": abs}[best]
    # A value that is no number must never win, and the model as it was wins where nothing is gained.
    order = [
        (badness(value) if value == value else float("inf"), beta < 1, beta)
        for beta, value in zip(betas, values, strict=True)
    ]
    beta = min(order)[2]
    set_beta(twins[beta], beta)
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", "metric")
    return BetaSearch(name, best, betas, tuple(values), beta, twins[beta], labels, logits, heads)
