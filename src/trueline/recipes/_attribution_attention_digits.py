"""Do explanations by attention gain from flat minima with a kernel, and not with a softmax? Mehrpanah et al. (2026)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trueline.contracts import ACCENT, NEUTRAL, facts_of, import_optional
from trueline.explain import AttentionRollout, Gradient, attack_attribution
from trueline.models import KernelAttention, build
from trueline.numerics import mean_interval
from trueline.probe import hessian_eigenvalues, normalised_curvature
from trueline.recipes._attribution_curvature_digits import IMPLICIT
from trueline.recipes._claim import Claim
from trueline.recipes._equal_loss import digits_in_two, fit_to_loss, robustness, share_right
from trueline.recipes._study import Study
from trueline.recipes._sweep_chart import side_by_side

ATTENTIONS: Mapping[str, Mapping[str, Any]] = {
    "softmax": {},
    "elu1": {"attention": "elu1"},
    "elu1, not normalised": {"attention": "elu1", "normalise_attention": False},
    "gaussian, not normalised": {"attention": "gaussian", "normalise_attention": False},
}
RATES = {"small step": 0.01, "large step": 0.05}
EXPLAINERS = {"gradient": Gradient(), "rollout": AttentionRollout(upsample=False)}
BATCH, MOMENTUM, TARGET, MOST = 64, 0.9, 0.1, 2500
EXPLAINED, SHARPNESS_ON, LARGEST = 100, 300, 0.15


def attribution_attention_digits() -> Study:
    """Digits, a small vision transformer with four kinds of attention, two step sizes, one loss: what holds better?

    A ViT of two blocks with 32 features, 4 heads and 16 patches of 2x2 on scikit-learn's digits, pixels in [0, 1],
    1,078 to train; SGD with momentum 0.9, batches of 64, until the mean cross-entropy of the training images is at most
    0.1, looked at every 20 steps, at most 2,500. The step sizes are 0.01 and 0.05. Of a seed, all have the same split
    and the same start. ``softmax`` is the usual attention; ``elu1`` and ``gaussian`` are kernels in its place, whose
    weights add up to 1 for each token or, not normalised, do not.

    Explained are 100 test images, less those predicted wrong, by the gradient of the predicted class's logit, and by
    the attention itself: its rollout through both blocks, one value a patch. ``intersection`` is the share of the
    largest 15 % of the entries, 10 pixels or 2 patches, that are still among the largest at the worst point found by
    the attack of Ghorbani et al. along the network's own maps: pixels move by at most 0.05, in 30 steps of 0.005, and
    the prediction stays. ``gain`` is what the large step has more of it than the small one. ``sharpness`` is the
    largest eigenvalue of the Hessian of the loss on 300 training images, by which one sees whether the large step did
    find the flatter minimum, and ``curvature`` the normalised curvature of the logit.

    The source says that robustness gained by the optimiser does not reach attention under a softmax, and does with a
    kernel; it gives no numbers for a study of this size.
    """
    kernels = [name for name in ATTENTIONS if name != "softmax"]
    small, large = RATES
    claims = [
        *(
            Claim(
                f"{name}: the large step finds the flatter minimum",
                "sharpness",
                f"{name}, {large}",
                f"{name}, {small}",
                "lower",
            )
            for name in ATTENTIONS
        ),
        *(
            Claim(
                f"{name}: with the large step the {explainer} holds better",
                "intersection",
                f"{name}, {large}, {explainer}",
                f"{name}, {small}, {explainer}",
                "higher",
            )
            for explainer in EXPLAINERS
            for name in ATTENTIONS
        ),
        *(
            Claim(
                f"{name}: the {explainer} gains more from the large step than under a softmax",
                "gain",
                f"{name}, {explainer}",
                f"softmax, {explainer}",
                "higher",
            )
            for explainer in EXPLAINERS
            for name in kernels
        ),
        *(
            Claim(
                f"{name}: with the large step the rollout holds better than under a softmax",
                "intersection",
                f"{name}, {large}, rollout",
                f"softmax, {large}, rollout",
                "higher",
            )
            for name in kernels
        ),
        *(
            Claim(
                f"{name}: with the large step the accuracy is within two points of softmax's",
                "accuracy",
                f"{name}, {large}",
                f"softmax, {large}",
                "higher",
                margin=0.02,
            )
            for name in kernels
        ),
    ]
    trained = [f"{name}, {rate}" for name in ATTENTIONS for rate in RATES]
    papers = [facts_of(method).references for method in (KernelAttention, attack_attribution, AttentionRollout)]
    return Study(
        name="attribution-attention-digits",
        summary="Explanations under attack of a small ViT over its kind of attention and the step size, at equal loss.",
        references=(IMPLICIT, *(paper for group in papers for paper in group)),
        variants=(
            *trained,
            *(f"{name}, {explainer}" for name in trained for explainer in EXPLAINERS),
            *(f"{name}, {explainer}" for name in ATTENTIONS for explainer in EXPLAINERS),
        ),
        measure=measure,
        claims=tuple(claims),
        seeds=5,
        figure=figure,
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Train the network with every attention and step size from one start, and return the scores of one seed."""
    data = digits_in_two(torch.Generator().manual_seed(seed))
    found: dict[str, dict[str, float]] = {}
    for name, options in ATTENTIONS.items():
        for step, rate in RATES.items():
            found |= _scores(f"{name}, {step}", seed, data, rate, options)
        for explainer in EXPLAINERS:
            kept = [found[f"{name}, {step}, {explainer}"]["intersection"] for step in RATES]
            found[f"{name}, {explainer}"] = {"gain": kept[1] - kept[0]}
    return found


def figure(scores: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Return a chart: how much of the largest entries stays, by attention, step size and explanation.

    Args:
        scores: per variant and metric, one value per seed.
    """
    alt = import_optional("altair", extra="report", purpose="the figure of this study")
    palette = alt.Scale(domain=list(RATES), range=[NEUTRAL, ACCENT])
    legend = alt.Legend(title=None, orient="bottom", labelColor=NEUTRAL, symbolOpacity=1)
    charts = []
    for explainer in EXPLAINERS:
        rows = []
        for name in ATTENTIONS:
            for step in RATES:
                mean, low, high = mean_interval(torch.tensor(scores[f"{name}, {step}, {explainer}"]["intersection"]))
                rows.append({"attention": name, "step": step, "mean": mean, "low": low, "high": high})
        base = alt.Chart(alt.Data(values=rows)).encode(
            x=alt.X("attention:N", title=None, sort=list(ATTENTIONS), axis=alt.Axis(labelAngle=-20)),
            xOffset=alt.XOffset("step:N", sort=list(RATES)),
            color=alt.Color("step:N", scale=palette, legend=legend),
        )
        y = alt.Y("mean:Q", title=None, scale=alt.Scale(zero=False))
        spans = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title=None), y2="high:Q")
        points = base.mark_point(filled=True, size=50, opacity=1).encode(y=y)
        charts.append(
            alt.layer(spans, points).properties(title=f"{explainer}: largest entries that stay", width=300, height=220)
        )
    seeds = len(scores[f"softmax, {next(iter(RATES))}"]["sharpness"])
    words = f"Networks of one training loss. Mean and 95 % interval over {seeds} seeds."
    return side_by_side(charts, words, columns=2)


def _scores(
    name: str, seed: int, data: tuple[Tensor, Tensor, Tensor, Tensor], rate: float, options: Mapping[str, Any]
) -> dict[str, dict[str, float]]:
    images, labels, tests, truth = data
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build("vit", input_shape=(1, 8, 8), num_classes=10, patch=2, dim=32, depth=2, heads=4, **options)
    steps, loss = fit_to_loss(
        model,
        images,
        labels,
        target=TARGET,
        learning_rate=rate,
        batch=BATCH,
        momentum=MOMENTUM,
        most=MOST,
        generator=torch.Generator().manual_seed(seed),
    )
    model.eval()
    inputs, classes = tests[:EXPLAINED], truth[:EXPLAINED]
    some = images[:SHARPNESS_ON], labels[:SHARPNESS_ON]
    top = hessian_eigenvalues(model, *some, tolerance=0.01, iterations=40)
    own = {
        "sharpness": top.values[0].item(),
        "curvature": normalised_curvature(model, inputs, of="logit", iterations=15).mean.value,
        "accuracy": share_right(model, tests, truth),
        "loss": loss,
        "steps": float(steps),
        "reached": float(loss <= TARGET),
    }
    kept = {
        f"{name}, {explained}": {
            "intersection": robustness(model, inputs, classes, largest=LARGEST, explainer=explainer)
        }
        for explained, explainer in EXPLAINERS.items()
    }
    return {name: own, **kept}
