"""Coverage of every conformal method at small and large numbers of calibration samples, after Vovk et al. (2005)."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trueline.conformal import (
    APS,
    CQR,
    LAC,
    RAPS,
    SAPS,
    AsymmetricCQR,
    ClassConditional,
    ClusterConditional,
    GroupConditional,
    Margin,
    NormalisedResidual,
    SplitResidual,
    conformal_p_values,
    conformal_quantile,
    coverage_band,
)
from trueline.contracts import ConformalClassifier, ConformalRegressor, facts_of
from trueline.numerics import conformal_rank
from trueline.recipes._claim import Claim
from trueline.recipes._dot_panel import dot_panel
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

SIZES = (20, 50, 100, 1000)  # calibration samples
REPEATS, NEW = 1000, 200  # calibration sets a seed, and new samples for each
ALPHA = 0.1
CLASSES = 4
ROUNDED, ROUNDED_POOLED = 0.005, 0.001  # of coverage, what 5 seeds cannot tell
LEVEL = 0.95  # of the band of the law
AGREED, MOST, LAW = "agreed", "most", "law"
POOLED = "all with one threshold"

CLASSIFIERS: dict[str, Callable[[], ConformalClassifier]] = {
    "LAC": lambda: LAC(ALPHA),
    "APS": lambda: APS(ALPHA),
    "APS, not randomised": lambda: APS(ALPHA, randomised=False),
    "RAPS": lambda: RAPS(ALPHA, penalty=0.05, k_reg=1),
    "SAPS": lambda: SAPS(ALPHA),
    "Margin": lambda: Margin(ALPHA),
    "LAC by class": lambda: ClassConditional(LAC(ALPHA)),
    "LAC by group": lambda: GroupConditional(LAC(ALPHA)),
    "LAC by cluster": lambda: ClusterConditional(LAC(ALPHA)),
}
REGRESSORS: dict[str, Callable[[], ConformalRegressor]] = {
    "split residual": lambda: SplitResidual(ALPHA),
    "normalised residual": lambda: NormalisedResidual(ALPHA),
    "CQR": lambda: CQR(ALPHA),
    "asymmetric CQR": lambda: AsymmetricCQR(ALPHA),
}
SMOOTHED, PLAIN = "smoothed p-values", "plain quantile"
EXACT = ("LAC", "APS", "RAPS", "SAPS", "Margin", "split residual", "normalised residual", "CQR")
METHODS = (*CLASSIFIERS, SMOOTHED, *REGRESSORS)
HARD = {"class": "LAC by class", "group": "LAC by group"}  # what is harder than the rest, and the method that knows


def conformal_coverage() -> Study:
    """Does every conformal method cover 90 % with 20, 50, 100 and 1,000 calibration samples, and no more than it must?

    Samples are drawn anew 1,000 times a seed, n to calibrate and 200 to judge. They are exchangeable, and nothing else
    is needed: the models are wrong on purpose. Classification has four classes and two groups of samples. Labels
    follow ``softmax(z)``, where class 0 is the most frequent; the model says ``softmax(3z)`` in group 0, much too
    certain, and ``softmax(z)`` in group 1, and believes class 0 to be rare. In regression the spread of the outcome
    grows with the input; the predicted mean is off, the predicted spread is half of the true one, and the predicted
    quantiles are those of a normal distribution with both.

    With ``k = ⌈0.9(n + 1)⌉`` and distinct scores coverage is k/(n + 1) exactly, .9048 at n = 20, and the number covered
    is beta-binomial; ``within_n`` is the share of repeats inside the 95 % band of that law. Sets cover more where
    scores tie, as those of APS that is not randomised do (the score of the last class is always 1), and methods with
    thresholds for several kinds of samples cover more where a kind is rare: its sets hold all classes if it had fewer
    than 9 samples.

    Smoothed p-values above alpha cover 90 % exactly. ``plain quantile`` is split conformal regression with the
    interpolated 90 % quantile of the n scores, as ``torch.quantile`` gives it and several libraries use: it covers
    ``(0.9(n - 1) + 1)/(n + 1)``, .8619 at n = 20.

    ``coverage_n`` is the mean coverage, ``class_n`` and ``group_n`` that of class 0 and of group 0 alone. ``all with
    one threshold`` is the mean over methods of which coverage is known exactly. ``agreed`` is 90 %, ``most`` that plus
    1/(n + 1), ``law`` 95 %.
    """
    claims = [
        Claim(f"{name}: at least 90 % are covered, n = {n}", f"coverage_{n}", name, AGREED, "higher", margin=ROUNDED)
        for n in SIZES
        for name in METHODS
    ]
    claims += [
        claim
        for n in SIZES
        for claim in (
            Claim(
                f"Methods with one threshold cover at most 1/(n + 1) more, n = {n}",
                f"coverage_{n}",
                POOLED,
                MOST,
                "lower",
                margin=ROUNDED_POOLED,
            ),
            Claim(
                f"Their coverage keeps within its beta-binomial law, n = {n}",
                f"within_{n}",
                POOLED,
                LAW,
                "higher",
                margin=0.01,
            ),
            Claim(
                f"Smoothed p-values cover no more than 90 %, n = {n}",
                f"coverage_{n}",
                SMOOTHED,
                AGREED,
                "lower",
                margin=ROUNDED,
            ),
            Claim(
                f"The plain quantile covers less than 90 %, n = {n}",
                f"coverage_{n}",
                PLAIN,
                AGREED,
                "lower",
                f"{(0.9 * (n - 1) + 1) / (n + 1):.4f} in theory",
            ),
        )
    ]
    claims += [
        claim
        for part, knows in HARD.items()
        for n in SIZES[2:]
        for claim in (
            Claim(f"LAC covers {part} 0 too seldom, n = {n}", f"{part}_{n}", "LAC", AGREED, "lower"),
            Claim(f"{knows} covers {part} 0, n = {n}", f"{part}_{n}", knows, AGREED, "higher", margin=ROUNDED),
        )
    ]
    sources: tuple[Callable[..., object], ...] = (
        *(conformal_quantile, coverage_band, conformal_p_values, LAC, APS, RAPS, SAPS, Margin),
        *(ClassConditional, ClusterConditional, SplitResidual, NormalisedResidual, CQR),
    )
    references = {facts_of(source).references[0]: None for source in sources}
    return Study(
        name="conformal-coverage",
        summary="Coverage of every conformal method, and of the plain quantile, with 20 to 1,000 calibration samples.",
        references=tuple(references),
        variants=(*METHODS, PLAIN, POOLED, AGREED, MOST, LAW),
        measure=measure,
        claims=tuple(claims),
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Return the coverage of all methods of one seed."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, dict[str, float]] = {name: {} for name in (*METHODS, PLAIN, POOLED, AGREED, MOST, LAW)}
    for n in SIZES:
        with warnings.catch_warnings():
            # Too few samples for a threshold cover all, and too few to cluster share one: that counts too.
            warnings.filterwarnings("ignore", message=".*(too few for alpha|in the null cluster)")
            draws = [_classification(n, generator) | _regression(n, generator) for _ in range(REPEATS)]
        table = {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}  # repeats by new samples
        low, high = coverage_band(n, ALPHA, NEW, level=LEVEL)
        for name in (*METHODS, PLAIN):
            share = table[name].double().mean(dim=1)
            found[name][f"coverage_{n}"] = share.mean().item()
            if name in EXACT:
                found[name][f"within_{n}"] = ((low <= share) & (share <= high)).double().mean().item()
        for part, knows in HARD.items():
            for name in ("LAC", knows):
                found[name][f"{part}_{n}"] = table[name][table[part]].double().mean().item()
            found[AGREED][f"{part}_{n}"] = 1 - ALPHA
        for metric in (f"coverage_{n}", f"within_{n}"):
            found[POOLED][metric] = sum(found[name][metric] for name in EXACT) / len(EXACT)
        found[AGREED][f"coverage_{n}"] = 1 - ALPHA
        found[MOST][f"coverage_{n}"] = 1 - ALPHA + 1 / (n + 1)
        found[LAW][f"within_{n}"] = LEVEL
    return found


def _classification(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return whether each label is covered, by method, and which samples are of the hard class and group."""
    groups = torch.randint(2, (n + NEW,), generator=generator)
    z = 1.5 * torch.randn(n + NEW, CLASSES, generator=generator, dtype=torch.float64)
    z[:, 0] += 0.7
    labels = torch.multinomial(z.softmax(dim=1), 1, generator=generator).squeeze(1)
    logits = z * torch.where(groups == 0, 3.0, 1.0)[:, None]
    logits[:, 0] -= 1.4
    old, new, rows = slice(None, n), slice(n, None), torch.arange(NEW)
    found = {"class": labels[new] == 0, "group": groups[new] == 0}
    for name, make in CLASSIFIERS.items():
        method = make()
        of_old, of_new = (groups[part] if method.takes_groups else None for part in (old, new))
        method.fit(labels[old], logits=logits[old], groups=of_old)
        sets = method.predict_set(logits=logits[new], groups=of_new)
        found[name] = sets[rows, labels[new]]
        if name == "LAC":
            p_values = method.p_values(logits=logits[new], smoothed=True)
            found[SMOOTHED] = p_values[rows, labels[new]] > ALPHA
    return found


def _regression(n: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Return whether each outcome is covered, by method."""
    x, noise = torch.rand(n + NEW, generator=generator).double(), torch.randn(n + NEW, generator=generator).double()
    y = torch.sin(6 * x) + (0.2 + x) * noise
    mean, scale = torch.sin(5 * x) + 0.1, (0.2 + x) / 2
    known = {"mean": mean, "scale": scale, "lower": mean - 1.645 * scale, "upper": mean + 1.645 * scale}
    found = {}
    for name, make in REGRESSORS.items():
        method = make()
        old, new = ({need: known[need][part] for need in method.needs} for part in (slice(None, n), slice(n, None)))
        ends = method.fit(y[:n], **old).predict_interval(**new)
        found[name] = (ends[:, 0] <= y[n:]) & (y[n:] <= ends[:, 1])
    errors = (y - mean).abs()
    found[PLAIN] = errors[n:] <= torch.quantile(errors[:n], 1 - ALPHA)
    return found


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return the figure: the coverage of every method, one panel for each number of calibration samples.

    Args:
        scores: per variant and metric, one value per seed.
    """
    charts = []
    for number, n in enumerate(SIZES):
        rows = {name: scores[name][f"coverage_{n}"] for name in (*METHODS, PLAIN)}
        dashed = (1 - ALPHA, conformal_rank(n, ALPHA) / (n + 1))
        charts.append(dot_panel(f"n = {n}", rows, dashed=dashed, named=number % 2 == 0, width=260))
    seeds = len(scores[AGREED][f"coverage_{SIZES[0]}"])
    words = f"Coverage, mean and 95 % interval over {seeds} seeds. Dashed: agreed, and exact with one threshold."
    return side_by_side(charts, words, columns=2)
