"""One hold-out set for early stopping and for calibration, after Liang, Zhou and Sesia (2023)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trueline.conformal import LAC, ConformalEarlyStopping, ConformalEarlyStoppingRegression, SplitResidual
from trueline.contracts import facts_of
from trueline.recipes._claim import Claim
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

SIZES = (30, 100, 300)  # samples that are held out
REPEATS, NEW, CHECKPOINTS = 200, 50, 100  # hold-out sets a seed, new samples for each, and models to choose from
ALPHA = 0.1
CLASSES, SIGNAL = 10, 2.0
TRAINED, FEATURES, FIRST, LAST = 60, 50, -3.0, 3.0  # of the training run; times are powers of ten
ROUNDED = 0.01
AGREED = "agreed"
REGRESSIONS = ("noisy regressors", "one training run")
CLASSIFIERS = "noisy classifiers"
WAYS = ("naive", "split", "CES")


def conformal_early_stopping() -> Study:
    """A hundred models: what does a prediction set cover whose model was chosen on its calibration samples?

    ``naive`` keeps the model with the smallest loss on n held-out samples and calibrates it on the same ones; ``split``
    chooses on one half and calibrates on the other; ``CES`` is conformalised early stopping on all of them, and ``CES
    interval`` the shortest interval that holds its union of intervals. A seed draws 200 hold-out sets for each of n =
    30, 100 and 300, and 50 new samples for each. Agreed are 90 %: split and CES cover 15/16 and 28/31 at n = 30
    exactly.

    ``noisy regressors``: the outcome is a standard normal number and so is the prediction of each model, independently.
    All are worth the same, and what looks best fits the hold-out samples alone: the worst case. ``noisy classifiers``:
    a model's logits are 2 for the label and 0 for nine other classes, plus standard normal noise of its own; the score
    is that of least ambiguous sets. ``one training run``: gradient flow on the squared error of a linear model, 60
    samples of 50 features with standard normal noise, looked at a hundred times between 0.001 and 1,000 (time times
    eigenvalue is what counts): models underfit first and overfit last, as in early stopping, and neighbours are alike.

    The numbers called published are mean sizes of sets of images and lengths on the data set "bio", both at n = 500.
    """
    claims = []
    for kind in (*REGRESSIONS, CLASSIFIERS):
        naive, split, ours = (f"{kind}: {way}" for way in WAYS)
        last = ours if kind == CLASSIFIERS else f"{kind}: CES interval"
        published = "6.75, 7.02" if kind == CLASSIFIERS else "17.4, 18.1"
        for n in SIZES:
            claims.append(Claim(f"{naive} covers too seldom, n = {n}", f"coverage_{n}", naive, AGREED, "lower"))
            claims += [
                Claim(f"{way} covers 90 %, n = {n}", f"coverage_{n}", way, AGREED, "higher", margin=ROUNDED)
                for way in dict.fromkeys((split, ours, last))
            ]
            claims.append(Claim(f"{last} is smaller than split, n = {n}", f"size_{n}", last, split, "lower", published))
    intervals = (f"{kind}: CES interval" for kind in REGRESSIONS)
    return Study(
        name="conformal-early-stopping",
        summary="Coverage and size of sets when one hold-out set chooses among 100 models and calibrates the choice.",
        references=facts_of(ConformalEarlyStopping).references,
        variants=(*(f"{kind}: {way}" for kind in (*REGRESSIONS, CLASSIFIERS) for way in WAYS), *intervals, AGREED),
        measure=measure,
        claims=tuple(claims),
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Return coverage and sizes of one seed."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, dict[str, float]] = {AGREED: {}}
    for n in SIZES:
        for _ in range(REPEATS):
            noisy = _noisy(n, generator)
            each = {
                REGRESSIONS[0]: regression(*noisy),
                REGRESSIONS[1]: regression(*_training_run(n, generator)),
                CLASSIFIERS: _classification(n, generator),
            }
            for kind, ways in each.items():
                for way, scores in ways.items():
                    row = found.setdefault(f"{kind}: {way}", {})
                    for metric, values in scores.items():
                        name = f"{metric}_{n}"
                        row[name] = row.get(name, 0.0) + values.double().mean().item() / REPEATS
        found[AGREED][f"coverage_{n}"] = 1 - ALPHA
    return found


def _noisy(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (n + NEW,) outcomes and (T, n + NEW) predictions that know nothing of them."""
    y = torch.randn(n + NEW, generator=generator, dtype=torch.float64)
    return y, torch.randn(CHECKPOINTS, n + NEW, generator=generator, dtype=torch.float64)


def _training_run(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return outcomes and the predictions of gradient flow on the squared error, looked at again and again."""
    x = torch.randn(TRAINED + n + NEW, FEATURES, generator=generator, dtype=torch.float64)
    weights = torch.randn(FEATURES, generator=generator, dtype=torch.float64) / FEATURES**0.5
    y = x @ weights + torch.randn(len(x), generator=generator, dtype=torch.float64)
    left, singular, right = torch.linalg.svd(x[:TRAINED], full_matrices=False)
    times = torch.logspace(FIRST, LAST, CHECKPOINTS, dtype=torch.float64)[:, None]
    reached = -torch.expm1(-times * singular.square() / TRAINED) / singular  # of each singular direction, at each time
    learned = (reached * (left.T @ y[:TRAINED])) @ right
    return y[TRAINED:], learned @ x[TRAINED:].T


def regression(y: Tensor, mean: Tensor) -> dict[str, dict[str, Tensor]]:
    """Return whether new outcomes are covered, and how long their intervals are, in each way.

    Args:
        y: (n + NEW,) outcomes, the held-out ones first.
        mean: (T, n + NEW) predictions of each model.
    """
    n = len(y) - NEW
    old, new = mean[:, :n], mean[:, n:]
    stopped = ConformalEarlyStoppingRegression(ALPHA).fit(y[:n], mean=old)
    chosen = int((y[: n // 2] - old[:, : n // 2]).square().sum(dim=1).argmin())

    def plain(model: int, first: int) -> Tensor:
        fitted = SplitResidual(ALPHA).fit(y[first:n], mean=old[model, first:])
        return fitted.predict_interval(mean=new[model])

    intervals = {
        "naive": plain(stopped.best_, 0),
        "split": plain(chosen, n // 2),
        "CES interval": stopped.predict_interval(mean=new),
    }
    found = {
        way: {"coverage": (ends[:, 0] <= y[n:]) & (y[n:] <= ends[:, 1]), "size": ends[:, 1] - ends[:, 0]}
        for way, ends in intervals.items()
    }
    return found | {"CES": {"coverage": stopped.p_values(y[n:], mean=new) > ALPHA}}


def _classification(n: int, generator: torch.Generator) -> dict[str, dict[str, Tensor]]:
    """Return whether labels are covered, and the sizes of their sets, in each way."""
    labels = torch.randint(CLASSES, (n + NEW,), generator=generator)
    logits = torch.randn(CHECKPOINTS, n + NEW, CLASSES, generator=generator, dtype=torch.float64)
    logits += SIGNAL * torch.nn.functional.one_hot(labels, CLASSES)
    old, new = logits[:, :n], logits[:, n:]
    stopped = ConformalEarlyStopping(LAC(ALPHA)).fit(labels[:n], logits=old)
    losses = -old.log_softmax(dim=2)[:, torch.arange(n // 2), labels[: n // 2]].sum(dim=1)

    def plain(model: int, first: int) -> Tensor:
        return LAC(ALPHA).fit(labels[first:n], logits=old[model, first:]).predict_set(logits=new[model])

    sets = {
        "naive": plain(stopped.best_, 0),
        "split": plain(int(losses.argmin()), n // 2),
        "CES": stopped.predict_set(logits=new),
    }
    rows = torch.arange(NEW)
    return {way: {"coverage": inside[rows, labels[n:]], "size": inside.sum(dim=1)} for way, inside in sets.items()}


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: coverage of each way at each number of samples, and the size of sets.

    Args:
        scores: per variant and metric, one value per seed.
    """
    charts = []
    for kind in (*REGRESSIONS, CLASSIFIERS):
        unit = "classes in a set" if kind == CLASSIFIERS else "length of an interval"
        for metric, title in {"coverage": f"{kind}: coverage", "size": unit}.items():
            rows = {
                f"{way}, n = {n}": found[f"{metric}_{n}"]
                for n in SIZES
                for way in (*WAYS, "CES interval")
                if f"{metric}_{n}" in (found := scores.get(f"{kind}: {way}", {}))
            }
            charts.append(dot_panel(title, rows, dashed=(1 - ALPHA,) if metric == "coverage" else ()))
    words = f"Mean and 95 % interval over {len(scores[AGREED][f'coverage_{SIZES[0]}'])} seeds. Dashed: agreed."
    return side_by_side(charts, words, columns=2)
