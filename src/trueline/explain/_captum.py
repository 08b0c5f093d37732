"""The attribution methods of captum as explainers, with its silent failures made loud."""

import inspect
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from trueline.contracts import Explainer, Reference, chunks, import_optional, method, unknown_name
from trueline.steer import audit_activations

# Rules of their own for activation modules: what is not such a module passes the plain gradient, and nothing says so.
_RULES = {"DeepLift", "GuidedBackprop", "Deconvolution", "GuidedGradCam"}
_ONE_RUN_A_MODULE = {"DeepLift"}
_RANDOM = {"GradientShap", "LimeBase", "FeaturePermutation"}  # with what is derived from them
_RELUS = {"relu", "clamp_min at 0", "maximum with 0", "threshold at 0"}


@method(
    Reference(
        authors="Narine Kokhlikyan, Vivek Miglani, Miguel Martin, Edward Wang, Bilal Alsallakh, Jonathan Reynolds, "
        "Alexander Melnikov, Natalia Kliushkina, Carlos Araya, Siqi Yan, Orion Reblitz-Richardson",
        title="Captum: A unified and generic model interpretability library for PyTorch",
        venue="arXiv",
        year=2020,
        arxiv="2009.07896",
    ),
    cost="that of the method; one that draws random numbers explains one sample after another",
)
@dataclass(frozen=True, init=False, eq=False)
class FromCaptum(Explainer):
    """Any attribution method of captum, made anew for each model; a black box to attacks.

    Rules for activations, such as those of DeepLIFT and guided backpropagation, hold in captum for activation modules
    that the model registers. It leaves functional activations out without a word, which gives maps of another method;
    here that is an error. :class:`GuidedBackpropagation` of this library guides every ReLU that runs.

    Args:
        which: a name in ``captum.attr``, such as ``"DeepLift"``, or the class.
        seed: of methods that draw random numbers. They explain each sample alone with the same draws, so that its map
            does not depend on the others.
        **options: of the class's constructor or of its ``attribute``, whichever takes them. ``layer`` may be the
            qualified name of a module.

    Raises:
        ImportError: if the ``explain`` extra is not installed.
        ValueError: if captum has no such method, or it cannot explain the model rightly, with the way out.
        TypeError: if it takes no such option.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> x = torch.tensor([[3.0, -1.0]])
        >>> map = FromCaptum("DeepLift").maps(nn.Sequential(model), x, torch.tensor([2]))
        >>> torch.allclose(map, model.weight[2] * x)
        True
    """

    which: Any
    seed: int
    options: Mapping[str, Any]

    def __init__(self, which: Any, *, seed: int = 0, **options: Any) -> None:
        for name, value in {"which": which, "seed": seed, "options": options}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        name = self.which if isinstance(self.which, str) else self.which.__name__
        given = "".join(f", {key}={_short(value)}" for key, value in self.options.items())
        return f"{type(self).__name__}({name!r}, seed={self.seed}{given})"

    def maps(
        self,
        model: nn.Module,
        inputs: Float[Tensor, "B *shape"],
        target: Int64[Tensor, " B"],
        *,
        create_graph: bool = False,
    ) -> Float[Tensor, "B *map"]:
        """Return the attributions, see :class:`trueline.contracts.Explainer`."""
        if create_graph:
            raise ValueError(f"captum's maps carry no gradient, so {self!r} is a black box to attacks")
        kind = _class_of(self.which)
        first, *taken = inspect.signature(kind).parameters
        if first in ("attribution_method", "attr_method"):
            raise ValueError(f"{kind.__name__} wraps other methods; here NoiseMean(FromCaptum(...)) and its kin do")
        made_with = {name: value for name, value in self.options.items() if name in taken}
        called_with = {name: value for name, value in self.options.items() if name not in taken}
        if isinstance(layer := made_with.get("layer"), str):
            made_with["layer"] = _submodule(model, layer)
        known = inspect.signature(kind.attribute).parameters
        if unknown := [name for name in called_with if name not in known]:
            raise TypeError(unknown_name(f"option of {kind.__name__}", unknown[0], [*taken, *list(known)[1:]]))
        size = 1 if _is(kind, _RANDOM) else len(inputs)
        with _seeded(self.seed) as start_again:
            found = []
            for _, (rows, classes) in chunks(size, inputs, target):
                assert rows is not None
                assert classes is not None
                start_again()
                found.append(captum_maps(kind(model, **made_with), model, rows, classes, called_with))
        return torch.cat(found)


def captum_maps(
    bound: Any,
    model: nn.Module,
    inputs: Float[Tensor, "B *shape"],
    target: Int64[Tensor, " B"],
    options: Mapping[str, Any],
) -> Float[Tensor, "B *map"]:
    """Return the attributions of a captum object that was made for the model.

    Args:
        bound: the object.
        model: its model.
        inputs: (B, ...) samples.
        target: (B,) classes; captum is told none where the model has one output.
        options: of its ``attribute``.

    Raises:
        ValueError: if it would give wrong maps for this model.
        TypeError: if it returns no tensor.
    """
    _check_rules(type(bound), model, inputs)
    with torch.no_grad():
        outputs = model(inputs[:1].clone())
    if outputs.numel() == 1:  # of two classes in one number captum can only be asked for that number
        target = torch.zeros_like(target)
    with warnings.catch_warnings(), torch.enable_grad():
        warnings.filterwarnings("ignore", message="Setting (backward hooks|forward, backward hooks)")  # taken out again
        point = inputs.detach().clone().requires_grad_()
        found = bound.attribute(point, target=None if outputs.ndim == 1 else target, **options)
    if not isinstance(found, Tensor):
        raise TypeError(
            f"{type(bound).__name__} must return one tensor, got {type(found).__name__}; leave out options that "
            "add to it"
        )
    return found.detach()


def _check_rules(kind: type, model: nn.Module, inputs: Tensor) -> None:
    """Refuse a model whose activations captum would pass over, or runs of one module that it cannot tell apart."""
    if not _is(kind, _RULES):
        return
    calls = list(audit_activations(model, inputs[:2].detach().clone()))
    if not _is(kind, _ONE_RUN_A_MODULE):
        calls = [call for call in calls if call.kind in _RELUS]
    if hidden := [call for call in calls if not call.module_names]:
        raise ValueError(
            f"{kind.__name__} of captum does not see activations without a registered module, so its maps would be "
            f"wrong: {hidden[0].kind} in {hidden[0].owner or 'the model'} ({hidden[0].line}). Give each activation a "
            "module of its own in __init__, such as self.relu1 = nn.ReLU()"
        )
    names = [call.module_names[0] for call in calls]
    if _is(kind, _ONE_RUN_A_MODULE) and (repeated := [name for name in names if names.count(name) > 1]):
        raise ValueError(
            f"{kind.__name__} of captum needs modules that run once, {repeated[0]!r} runs {names.count(repeated[0])} "
            "times. Give each use a module of its own in __init__, such as self.relu1 and self.relu2"
        )


def _class_of(which: Any) -> Any:
    if not isinstance(which, str):
        if not hasattr(which, "attribute"):
            raise TypeError(f"which must be the name or the class of a method of captum, got {which!r}")
        return which
    methods = import_optional("captum.attr", extra="explain", purpose="FromCaptum")
    known = [name for name in dir(methods) if hasattr(getattr(methods, name), "attribute")]
    if which not in known:
        raise ValueError(unknown_name("method of captum", which, known))
    return getattr(methods, which)


def _is(kind: type, names: set[str]) -> bool:
    return bool({base.__name__.removeprefix("Layer").removeprefix("Neuron") for base in kind.__mro__} & names)


def _submodule(model: nn.Module, name: str) -> nn.Module:
    named = dict(model.named_modules(remove_duplicate=False))
    if name not in named:
        raise ValueError(unknown_name("layer", name, [known for known in named if known]))
    layer: nn.Module = named[name]
    return layer


def _short(value: Any) -> str:
    return "x".join(map(str, value.shape)) + " tensor" if isinstance(value, Tensor) else repr(value)


@contextmanager
def _seeded(seed: int) -> Iterator[Any]:
    """Give what seeds the global generators, which captum draws from, and put them back as they were."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002  # captum draws from the global state

    def start_again() -> None:
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        random.seed(seed)

    with torch.random.fork_rng():
        try:
            yield start_again
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
