"""Which training samples made a prediction: representers of the last layer, fitted anew to where they are exact."""

from dataclasses import replace

from torch import nn

from trueline.explain import fit_l2_head, l2_representers
from trueline.explaining._ground import Others, others, percent
from trueline.probing import Batch, Exhibit, Measured, Number, Setting, about_samples, number_text, with_ends
from trueline.steer import features_of, head_of

_SHOWN, _SAMPLES = 4, 3
_WEIGHT_DECAY = 0.003  # that of the publication, in PyTorch's sense


def representers(setting: Setting, batch: Batch, count: int) -> Measured:
    """Return the training samples that speak most for and against each prediction.

    Args:
        setting: the model.
        batch: the samples.
        count: their number.
    """
    name = head_of(setting.model, batch.inputs[:2])
    exclude = batch.positions if batch.split == "train" else None
    trained = others(setting, "train", exclude, name)
    features = features_of(setting.model, batch.inputs, head=name, batch_size=setting.chunk_size).double()
    layer = setting.model.get_submodule(name)
    assert isinstance(layer, nn.Linear)
    known = trained.features, trained.examples.labels
    head = fit_l2_head(*known, weight_decay=_WEIGHT_DECAY, outputs=layer.out_features, head=layer)
    found = l2_representers(
        *known, features, weight=head.weight, bias=head.bias, weight_decay=_WEIGHT_DECAY, top=_SAMPLES
    )
    assert head.agrees is not None
    agreed = percent(head.agrees.double())
    share = percent(found.proponent_values[:, 0] / found.absolute_total)
    sentences = (
        f"The strongest training sample makes {with_ends(share)} % of all that speaks for or against a prediction. The "
        f"contributions add up to the logit with an error of at most "
        f"{number_text(found.reconstruction_error.max().item())}.",
        "They are those of a last layer fitted anew to the same features, where the sums are exact; they tell what the "
        "prediction is made of, not what would happen without a sample.",
    )
    numbers = (
        Number("strongest sample, share of the absolute sum", share, "%"),
        Number("training samples on which the fitted layer agrees with the model", agreed, "%"),
    )
    measured = about_samples(
        setting,
        batch,
        found.proponent_values[:, 0] / found.absolute_total,
        "share of the strongest training sample; high where few samples decide",
        records={"l2_representers": found},
        sentences=sentences,
        numbers=numbers,
        notes=(f"Of {len(trained.positions):,} training samples, with weight decay {_WEIGHT_DECAY:g}.",),
    )
    shown = range(min(_SHOWN, len(batch)))
    return replace(
        measured,
        exhibits=tuple(
            _exhibit(setting, batch, trained, place, found.proponents[place].tolist(), found.opponents[place].tolist())
            for place in shown
        ),
        titles={"l2_representers": "Contributions to the first prediction"},
    )


def not_trained_here(setting: Setting, split: str) -> str:
    """Return why there are no training samples to look among, or nothing.

    Args:
        setting: the samples.
        split: which of them are explained.
    """
    if "train" not in setting.subject.parts:
        return "what the model was trained on is not known here"
    return ""


def _exhibit(
    setting: Setting, batch: Batch, trained: Others, place: int, speaking_for: list[int], against: list[int]
) -> Exhibit:
    names = setting.subject.class_names
    label = names[int(batch.examples.labels[place])]
    shown = {f"the sample, labelled {label}": batch.picture(place)}
    facts = {"label": label}
    for word, chosen in (("for", speaking_for), ("against", against)):
        for row in chosen:
            named = names[int(trained.examples.labels[row])]
            shown[f"{word}: training sample {int(trained.positions[row])}, labelled {named}"] = trained.picture(row)
        facts[word] = ", ".join(
            f"{int(trained.positions[row])} ({names[int(trained.examples.labels[row])]})" for row in chosen
        )
    pictures = {caption: picture for caption, picture in shown.items() if picture is not None}
    title = f"sample {int(batch.positions[place])}"
    return Exhibit(title, pictures, {"label": label} if pictures else facts)
