"""The probes by name: what each asks, which functions answer it, and what it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trueline import probe
from trueline.contracts import Reference, facts_of
from trueline.probing import _bending, _pieces, _sensitivity, _structure
from trueline.probing._records import Measured
from trueline.probing._setting import Batch, Setting


def _anything(setting: Setting, split: str) -> str:
    del setting, split
    return ""


@dataclass(frozen=True)
class ProbeEntry:
    """One probe of the catalogue.

    Args:
        title: what a reader calls it.
        question: what it answers, in one plain sentence.
        methods: the functions that it calls.
        measure: from the model, the samples and their number (or that of regions) to the result.
        samples: how many it takes by default, or how many regions.
        needs: what the model or the samples must have, in words; empty for nothing.
        refusal: why it cannot be had of a model and a split, or nothing.
        counts: ``"samples"``, ``"regions"``, or nothing where the cost does not depend on either.
        pilot: how many it is tried on first where time is limited.
        of_training: whether it is about the samples that the model was trained on, and takes these where known.
        balanced: whether few samples are to be of as many classes as can be.
        told: whether the verdict repeats the first sentence of what it found.
    """

    title: str
    question: str
    methods: tuple[Callable[..., Any], ...]
    measure: Callable[[Setting, Batch, int], Measured]
    samples: int = 200
    needs: str = ""
    refusal: Callable[[Setting, str], str] = _anything
    counts: str = "samples"
    pilot: int = 2
    of_training: bool = False
    balanced: bool = False
    told: bool = False

    @property
    def references(self) -> tuple[Reference, ...]:
        """Where its functions were published, each source once."""
        found: list[Reference] = []
        for function in self.methods:
            try:
                found += facts_of(function).references
            except TypeError:  # a helper without a source of its own
                continue
        return tuple(dict.fromkeys(found))


PROBES: Mapping[str, ProbeEntry] = {
    "jacobian": ProbeEntry(
        "Sensitivity",
        "How far can a small change of an input move the outputs, and how near is another prediction?",
        (probe.input_jacobian_norm,),
        _sensitivity.jacobian,
        pilot=16,
        told=True,
    ),
    "sharpness": ProbeEntry(
        "Sharpness of the loss",
        "How steep is the loss around a sample, and is it steeper where the label is wrong?",
        (probe.loss_sharpness,),
        _bending.sharpness,
        of_training=True,
        pilot=8,
        told=True,
    ),
    "bound": ProbeEntry(
        "Guaranteed bound",
        "How far can the outputs move at most, for any inputs whatever?",
        (probe.lipschitz_product_bound,),
        _sensitivity.bound,
        needs="layers whose largest slope is known, which excludes attention",
        pilot=200,
    ),
    "curvature": ProbeEntry(
        "Curvature",
        "Over what distance does the gradient of the loss stay about the same?",
        (probe.normalised_curvature,),
        _bending.curvature,
        samples=100,
        pilot=4,
    ),
    "arrangement": ProbeEntry(
        "Direction of filters",
        "Do the filters of a layer all face the same way?",
        (probe.filter_bias,),
        _structure.arrangement,
        samples=2,
        needs="convolutions",
        refusal=_structure.no_convolutions,
        counts="",
    ),
    "collapse": ProbeEntry(
        "Collapse of features",
        "How nearly have the features of each class become one point?",
        (probe.neural_collapse_of,),
        _structure.collapse,
        samples=1000,
        needs="a last linear layer, and samples of every class",
        refusal=_structure.no_two_a_class,
        of_training=True,
        balanced=True,
    ),
    "initialisation": ProbeEntry(
        "Distance from the start",
        "How far has training moved the weights from where they began?",
        (probe.distance_from_initialisation,),
        _structure.initialisation,
        samples=1,
        needs="the initial weights",
        refusal=_structure.no_start,
        counts="",
    ),
    "criticality": ProbeEntry(
        "Critical layers",
        "Which layers would the model miss if they were put back to where they began?",
        (probe.layer_criticality,),
        _structure.criticality,
        samples=500,
        pilot=32,
    ),
    "regions": ProbeEntry(
        "Linear pieces",
        "How many straight pieces is the network made of around a sample, and how far is it from straight?",
        (probe.trace_segment, probe.deviation_by_quadrature),
        _pieces.regions,
        samples=6,
        pilot=2,
        told=True,
    ),
    "nuclear": ProbeEntry(
        "Directions of change",
        "In how many directions do the outputs vary around a sample?",
        (probe.jacobian_nuclear_norm,),
        _sensitivity.nuclear,
        samples=100,
        needs=f"at most {_sensitivity.MOST_OUTPUTS} outputs",
        refusal=_sensitivity.too_many_outputs,
        pilot=4,
    ),
    "slice": ProbeEntry(
        "A plane through three samples",
        "What do the linear pieces and the decision boundary look like between three samples?",
        (probe.slice_partition, probe.trace_segment),
        _pieces.plane,
        samples=4000,
        needs="a piecewise linear network",
        refusal=_pieces.needs_three,
        counts="regions",
        pilot=50,
        balanced=True,
    ),
    "input-hessian": ProbeEntry(
        "Bending of the loss",
        "How strongly does the loss bend around a sample, upwards and downwards?",
        (probe.input_hessian,),
        _bending.bending,
        samples=50,
    ),
    "hessian": ProbeEntry(
        "Sharpness of the minimum",
        "How sharp is the minimum that training found, and what step size would leave it?",
        (probe.hessian_eigenvalues, probe.hessian_trace),
        _bending.minimum,
        samples=256,
        of_training=True,
        pilot=16,
    ),
    "inequality": ProbeEntry(
        "Inputs against weights",
        "How much of the loss's gradient in the weights does its sensitivity to the input account for?",
        (probe.gradient_inequality,),
        _sensitivity.inequality,
        samples=50,
        needs="a first layer that is linear or a convolution",
        of_training=True,
    ),
    "spectrum": ProbeEntry(
        "Spectrum of the curvature",
        "How is the curvature in the weights spread over directions?",
        (probe.spectral_density,),
        _bending.spectrum,
        samples=128,
        pilot=4,
        of_training=True,
    ),
}
"""All probes, the cheap and telling ones first, which is the order in which they run."""
