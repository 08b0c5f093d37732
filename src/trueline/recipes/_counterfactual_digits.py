"""Counterfactuals of digits under heads of equal accuracy, after Gemou et al. (2026)."""

from functools import partial

import torch

from trueline.contracts import facts_of
from trueline.counterfactual import LocalSupport, find_counterfactuals, fit_head
from trueline.data import digits
from trueline.recipes._claim import Claim
from trueline.recipes._counterfactual_heads import (
    EXPLAINED_CLAIMS,
    FITTED,
    NEIGHBOURS,
    SPREAD_CLAIMS,
    VARIANTS,
    Embeddings,
    figure,
    measure_heads,
    outcome,
    scaled,
    searches,
)
from trueline.recipes._study import Study

EXTRA = ("shrunk LDA", "shrunk LDA, margin", "weak logistic", "weak logistic, logits / 10")


def counterfactual_digits() -> Study:
    """Digits, whose pixels divided by 16 are the embedding: heads, searches, and what explains their success.

    A seed splits the 1,797 digits: half fit the heads, a quarter is the reference, a quarter is explained. Heads take
    embeddings as they are; ``trained logistic`` and ``MLP`` are trained by the published recipe, the others are exact.
    Every head meets the published probe (later revision: steps of .01 up the target's logit, a ball of radius 1, 300
    steps), and the library's own search, whose scores begin with ``default``.

    The searches that are compared are those of the head ``logistic``: the published one, with a weight of 1 or 5 on
    the support term, and in a ball of half the median distance of two references (``wide``); the lead of the target in
    place of its logit, with steps of one length, in the published ball (``margin``); the library's own, without support
    term, as it is, and with a weight of 5; and the nearest real example. ``shrunk LDA`` does not trust the variance of
    pixels that hardly ever vary, and ``weak logistic``, with C = 0.01, has small logits. ``logits / 10`` is the same
    head with all logits divided by 10, which predicts the same.

    ``supported`` is the share of examples that flip and end no farther from data of the target class than half of that
    class is, by the 20th neighbour; ``end_radius`` is the median of that distance over the threshold. ``explained by``
    holds R² on held-out examples over all heads, of success and distance under the published probe, and of the distance
    under the library's own. ``equal heads`` are those within two points of the best accuracy on the reference, and
    ``draws`` nine heads of the published recipe, over seeds and weight decays.

    The numbers called published come from a small study of the same kind with one split.
    """
    return Study(
        name="counterfactual-digits",
        summary="Heads of equal accuracy on digits: who flips, where flips end, and what explains it.",
        references=facts_of(find_counterfactuals).references[:1],
        variants=(*VARIANTS, *EXTRA),
        measure=measure,
        claims=(
            Claim(
                "The SVM flips more than the logistic head", "success", "linear SVM", "logistic", "higher", ".929, .764"
            ),
            Claim(
                "It is no less accurate, within a point",
                "accuracy",
                "linear SVM",
                "logistic",
                "higher",
                ".960, .958",
                margin=0.01,
            ),
            Claim(
                "The logistic head is no less accurate either",
                "accuracy",
                "logistic",
                "linear SVM",
                "higher",
                margin=0.01,
            ),
            *SPREAD_CLAIMS,
            Claim(
                "The published probe ends among data less than once in twenty",
                "supported",
                "published",
                "one in twenty",
                "lower",
                ".040",
            ),
            Claim(
                "With the support term more than once in two", "supported", "support 5", "one in two", "higher", ".529"
            ),
            Claim(
                "And in the wider ball", "supported", "support 5, wide", "one in two", "higher", ".689 at radius 1.5"
            ),
            Claim("The support term raises success", "success", "support 1", "published", "higher", ".896, .764"),
            Claim("So does the lead in place of the logit", "success", "margin", "published", "higher", ".982, .764"),
            Claim("Also of LDA", "success", "LDA, margin", "LDA", "higher", ".982, .231"),
            Claim("Also of shrunk LDA", "success", "shrunk LDA, margin", "shrunk LDA", "higher"),
            Claim(
                "Smaller logits, fewer flips",
                "success",
                "weak logistic, logits / 10",
                "weak logistic",
                "lower",
                ".204, .538",
            ),
            Claim("Also of ridge", "success", "ridge, logits / 10", "ridge", "lower", ".876, .982"),
            Claim(
                "The library's search does not see the size of logits",
                "success",
                "default, logits / 10",
                "default",
                "higher",
                margin=0.001,
            ),
            Claim("It ends among data more often than the published", "supported", "default", "published", "higher"),
            Claim(
                "With more weight on data more than once in two",
                "supported",
                "default, support 5",
                "one in two",
                "higher",
            ),
            *EXPLAINED_CLAIMS,
        ),
        figure=partial(figure, tuple(FITTED)),
    )


def measure(seed: int) -> dict[str, dict[str, float]]:
    """Split the digits by the seed and return the scores of all variants."""
    source = digits().train
    z, labels = torch.as_tensor(source.inputs).float().flatten(1) / source.value_range, source.labels
    shuffled = torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))
    train, reference, examples = (
        (z[rows], labels[rows]) for rows in shuffled.tensor_split((len(z) // 2, len(z) * 3 // 4))
    )
    found = measure_heads(Embeddings(train, reference, judged=reference, examples=examples), seed)
    support = LocalSupport(*reference, k=NEIGHBOURS)
    among = searches(support)
    shrunk = fit_head("lda", *train, shrinkage=0.1)
    weak = fit_head("logistic_optimum", *train, standardise=False, weight_decay=100 / len(train[0]))
    for name, head, search in (
        ("shrunk LDA", shrunk, "published"),
        ("shrunk LDA, margin", shrunk, "margin"),
        ("weak logistic", weak, "published"),
        ("weak logistic, logits / 10", scaled(weak), "published"),
    ):
        found[name] = outcome(among[search](head, examples[0], support))
    return found
