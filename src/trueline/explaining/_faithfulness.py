"""Whether the maps name what the model uses: what becomes of its probability as their largest entries go."""

from collections.abc import Mapping
from dataclasses import replace

from trueline.contracts import Explainer
from trueline.explain import Gradient, InputGradient, IntegratedGradients, deletion, insertion
from trueline.probing import Batch, Measured, Number, Setting, about_samples, with_ends

_STEPS, _DRAWS = 20, 5
_METHODS: Mapping[str, Explainer] = {
    "input × gradient": InputGradient(),
    "integrated gradients": IntegratedGradients(steps=20),
    "gradient": Gradient(),
}


def faithfulness(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the areas under deletion and insertion curves of several methods, beside those of random orders.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    steps, at_once = min(_STEPS, _entries(batch)), 4 * setting.chunk_size
    found = {
        name: deletion(
            setting.model, batch.inputs, method,
            steps=steps, draws=_DRAWS, chunk_size=at_once, generator=setting.generator(),
        )
        for name, method in _METHODS.items()
    }  # fmt: skip
    restored = insertion(
        setting.model, batch.inputs, _METHODS["integrated gradients"],
        steps=steps, draws=_DRAWS, chunk_size=at_once, generator=setting.generator(),
    )  # fmt: skip
    best = max(found, key=lambda name: found[name].advantage.value)
    first = found[best]
    beaten = [name for name, each in found.items() if each.advantage.low > 0]
    said = f"better than random orders: {', '.join(beaten)}" if beaten else "none is clearly better than random orders"
    sentences = (
        f"Removing the entries that a map names first should cost the prediction its probability soonest. Of these "
        f"methods, {said}.",
        f"The best, {best}, lowers the mean probability on the way by {with_ends(first.advantage)} more than random "
        "orders do. Removed entries are set to 0, which no sample may look like: other replacements order methods "
        "differently.",
    )
    numbers = (
        *(Number(f"advantage over random orders, deletion, {name}", each.advantage) for name, each in found.items()),
        Number("advantage over random orders, insertion, integrated gradients", restored.advantage),
    )
    measured = about_samples(
        setting,
        batch,
        first.area,
        f"area under the deletion curve of {best}; high where its entries were not what mattered",
        records={"deletion": first, "insertion": restored},
        sentences=sentences,
        numbers=numbers,
    )
    titles = {
        "deletion": f"Removing what {best} names first",
        "insertion": "Restoring what integrated gradients name first",
    }
    return replace(measured, titles=titles)


def _entries(batch: Batch) -> int:
    inputs = batch.inputs
    return inputs[0, 0].numel() if inputs.ndim == 4 else inputs[0].numel()
