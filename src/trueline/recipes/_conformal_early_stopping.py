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
REPEATS, NEW, CHECKPOINTS = 100, 50, 100  # hold-out sets a seed, new samples for each, and models to choose from
ALPHA = 0.1
CLASSES, SIGNAL = 10, 2.0
ROUNDED = 0.005
AGREED = "agreed"
KINDS = ("regression", "classification")
WAYS = ("naive", "split", "CES")


def conformal_early_stopping() -> Study:
    """A hundred noisy models: what does a prediction set cover whose model was chosen on its calibration samples?

    ``naive`` keeps the model with the smallest loss on n held-out samples and calibrates it on the same ones; ``split``
    chooses on one half and calibrates on the other; ``CES`` is conformalised early stopping on all of them, and ``CES
    interval`` the shortest interval that holds its union of intervals. A seed draws 100 hold-out sets for each of n =
    30, 100 and 300, and 50 new samples for each. Agreed are 90 %: split and CES cover 15/16 and 28/31 of n = 30
    exactly.

    In regression the outcome is a standard normal number, and so is the prediction of each model, independently: all
    are worth the same, and what looks best fits the hold-out samples alone, the worst case. In classification a model's
    logits are 2 for the label and 0 for the nine other classes, plus standard normal noise of its own, and the score is
    that of least ambiguous sets. Checkpoints of one training run resemble each other more, and less is lost there.

    ``coverage_n`` is the share of new samples that are covered, ``size_n`` the mean number of classes, or the mean
    length in standard deviations.

    The numbers called published are mean sizes of sets on CIFAR-10 and lengths on the data set "bio", both at n = 500.
    """
    claims = []
    sizes = {"regression": "17.4, 18.1", "classification": "6.75, 7.02"}
    for kind in KINDS:
        naive, split, ours = (f"{kind}: {way}" for way in WAYS)
        held = (ours, f"{kind}: CES interval") if kind == "regression" else (ours,)
        for n in SIZES:
            claims.append(Claim(f"{naive} covers too seldom, n = {n}", f"coverage_{n}", naive, AGREED, "lower"))
            claims += [
                Claim(f"{way} covers 90 %, n = {n}", f"coverage_{n}", way, AGREED, "higher", margin=ROUNDED)
                for way in (split, *held)
            ]
            claims.append(
                Claim(f"{held[-1]} is smaller than split, n = {n}", f"size_{n}", held[-1], split, "lower", sizes[kind])
            )
    return Study(
        name="conformal-early-stopping",
        summary="Coverage and size of sets when one hold-out set chooses among 100 models and calibrates the choice.",
        references=facts_of(ConformalEarlyStopping).references,
        variants=(*(f"{kind}: {way}" for kind in KINDS for way in WAYS), "regression: CES interval", AGREED),
        measure=measure,
        claims=tuple(claims),
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Return coverage and sizes of one seed."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, dict[str, float]] = {AGREED: {}}
    for n in SIZES:
        sums: dict[str, Tensor] = {}
        for _ in range(REPEATS):
            for name, (covered, size) in (_regression(n, generator) | _classification(n, generator)).items():
                value = torch.stack([covered.double().mean(), size.double().mean()]) / REPEATS
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
        for name, (coverage, length) in sums.items():
            found.setdefault(name, {}).update({f"coverage_{n}": coverage.item(), f"size_{n}": length.item()})
        found[AGREED][f"coverage_{n}"] = 1 - ALPHA
    return found


def _regression(n: int, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Return whether outcomes are covered, and the lengths of their sets."""
    y = torch.randn(n + NEW, generator=generator, dtype=torch.float64)
    mean = torch.randn(CHECKPOINTS, n + NEW, generator=generator, dtype=torch.float64)
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
    found = {name: (_inside(ends, y[n:]), ends[:, 1] - ends[:, 0]) for name, ends in intervals.items()}
    unions = stopped.predict_union(mean=new)
    lengths = torch.stack([(union[:, 1] - union[:, 0]).sum() for union in unions])
    held = torch.stack([_inside(union, outcome).any() for union, outcome in zip(unions, y[n:], strict=True)])
    return {f"regression: {name}": values for name, values in (found | {"CES": (held, lengths)}).items()}


def _inside(ends: Tensor, y: Tensor) -> Tensor:
    return (ends[:, 0] <= y) & (y <= ends[:, 1])


def _classification(n: int, generator: torch.Generator) -> dict[str, tuple[Tensor, Tensor]]:
    """Return whether labels are covered, and the sizes of their sets."""
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
    return {f"classification: {name}": (inside[rows, labels[n:]], inside.sum(dim=1)) for name, inside in sets.items()}


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: coverage of each way at each number of samples, and the size of sets.

    Args:
        scores: per variant and metric, one value per seed.
    """
    charts = []
    for kind in KINDS:
        ways = [name for name in scores if name.startswith(kind)]
        unit = "classes in a set" if kind == "classification" else "length in standard deviations"
        for metric, title in {"coverage": f"{kind}: coverage", "size": unit}.items():
            rows = {
                f"{name.removeprefix(f'{kind}: ')}, n = {n}": scores[name][f"{metric}_{n}"]
                for n in SIZES
                for name in ways
            }
            dashed = (1 - ALPHA,) if metric == "coverage" else ()
            charts.append(dot_panel(title, rows, dashed=dashed, named=metric == "coverage"))
    words = f"Mean and 95 % interval over {len(scores[AGREED][f'coverage_{SIZES[0]}'])} seeds. Dashed: agreed."
    return side_by_side(charts, words, columns=2)
