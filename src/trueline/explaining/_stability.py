"""How stable the maps are: what a change too small to see can do to them, before and after steering."""

from dataclasses import replace

import torch

from trueline.explain import AttributionAttack, TopK, attack_attribution, random_signs
from trueline.explaining._ground import BETA, percent, radius_of, steered
from trueline.numerics import Interval
from trueline.probing import Batch, Measured, Number, Setting, about_samples, with_ends

_STEPS = 10


def stability(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return how many of a gradient's largest entries an attack leaves in place, beside random changes of its size.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    radius, bounds, words = radius_of(batch)
    twin = steered(setting, batch)
    guides = [setting.model] if twin is None else [twin]

    def attacked(model: torch.nn.Module) -> AttributionAttack:
        return attack_attribution(
            model, batch.inputs, radius=radius, objective=TopK(0.1), surrogates=guides, steps=_STEPS, bounds=bounds,
            chunk_size=setting.chunk_size, generator=setting.generator(),
        )  # fmt: skip

    found = attacked(setting.model)
    control = random_signs(
        setting.model, batch.inputs, radius=radius, objective=TopK(0.1), draws=_STEPS, bounds=bounds,
        chunk_size=setting.chunk_size, generator=setting.generator(),
    )  # fmt: skip
    kept, by_chance = (percent(each.intersection) for each in (found, control))
    numbers = [
        Number("largest entries kept under attack", kept, "%"),
        Number("kept under random changes of the same size", by_chance, "%", "if by chance"),
    ]
    sentences = [
        f"A change of at most {words} that keeps the prediction leaves {with_ends(kept)} % of a gradient's largest "
        f"tenth in place in the worst case found; random changes of that size leave {with_ends(by_chance)} %.",
        "Where an attack that nobody can see rearranges a map, the map says as much about the change as about the "
        "sample.",
    ]
    notes: tuple[str, ...] = ("The attack is a search: a longer one may find worse.",)
    if twin is None:
        notes += ("Nothing in the model can be steered, so the attack follows the model's own gradient.",)
    else:
        after = attacked(twin)
        same = 100 * (after.target == found.target).double().mean().item()
        better = Interval.of_mean(100 * (after.intersection - found.intersection))
        numbers += [
            Number(f"kept under attack after steering to β = {BETA:g}", percent(after.intersection), "%"),
            Number("gain by steering", better, "points"),
        ]
        said = "more" if better.low > 0 else "less" if better.high < 0 else "not clearly more or less"
        sentences.append(
            f"After steering to β = {BETA:g}, which keeps {same:.3g} % of "
            f"these predictions, {said} stays in place: a difference of {with_ends(better)} points."
        )
    measured = about_samples(
        setting,
        batch,
        1 - found.intersection,
        "share of the largest tenth that the attack replaced",
        records={"attack_attribution": found},
        sentences=tuple(sentences),
        numbers=tuple(numbers),
        notes=notes,
    )
    return replace(measured, titles={"attack_attribution": "Share of samples that keep at most a given share"})
