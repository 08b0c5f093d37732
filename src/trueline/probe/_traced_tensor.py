"""A tensor that holds its values at many points of the input space at once, of which the model sees one."""

import weakref
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor
from torch.overrides import enable_reentrant_dispatch
from torch.utils import _pytree as pytree

from trueline.probe._affine_operations import is_affine
from trueline.probe._kinks import Kinks, read_kinks
from trueline.probe._mesh import Mesh

_CHECKED_CELLS = 32  # on which an operation that is not known is checked to be affine
_TOLERANCE = 1e-9  # relative to the largest value there, that counts as affine

_COMPARES = (
    "the model compares or counts values that depend on its input, and computes with the answer; write the choice as "
    "torch.relu, torch.maximum or max-pooling"
)


class NotPiecewiseLinearError(ValueError):
    """A network computes something that is not piecewise linear in its input."""


class TracedTensor(Tensor):
    """One tensor to the model, its values at every point of a mesh to whoever made it.

    The model computes with the shape, strides and dtype of a single batch. Each operation is applied at all points at
    once and in double precision; before one that has kinks, the mesh is refined until the operation is affine on every
    cell. Tensors made earlier are brought up to date when they are used again: they are affine on the cells of their
    time, so that their values at new points follow from those at old ones.

    Args:
        values: (P, ...) one row a point; float64, or what an operation counted or compared.
        mesh: the points.
        dtype: what the model sees.
    """

    mesh: Mesh
    at_points: Tensor
    stale: bool
    aliases: "weakref.WeakSet[TracedTensor]"

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as PyTorch advises

    @staticmethod
    def __new__(cls, values: Shaped[Tensor, "P *shape"], mesh: Mesh, dtype: torch.dtype) -> "TracedTensor":
        """Make the tensor that the model sees."""
        made: TracedTensor = Tensor._make_wrapper_subclass(
            cls, values.shape[1:], strides=values.stride()[1:], dtype=dtype, device=values.device
        )
        return made

    def __init__(self, values: Shaped[Tensor, "P *shape"], mesh: Mesh, dtype: torch.dtype) -> None:
        super().__init__()
        del dtype
        self.mesh, self.at_points = mesh, values
        self.stale = False
        self.aliases = weakref.WeakSet([self])

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # PyTorch's own annotation leaves the class out
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Apply an operation at every point."""
        return _apply(func, args, kwargs or {})

    def current(self) -> Shaped[Tensor, "P *shape"]:
        """Return the values at all points that there are now."""
        if self.stale:
            raise NotPiecewiseLinearError(
                "a view of a tensor is overwritten in place and the tensor is used afterwards, which cannot be "
                "followed; write the model's in-place operation out of place"
            )
        if self.at_points.is_floating_point():
            self.at_points = self.mesh.refine(self.at_points)
        elif len(self.at_points) < self.mesh.points:
            raise NotPiecewiseLinearError(_COMPARES)
        return self.at_points

    def share_with(self, other: "TracedTensor") -> None:
        """Note that this is a view of another tensor."""
        other.aliases.add(self)
        self.aliases = other.aliases

    def was_written(self) -> None:
        """Note that the values were overwritten; views that have memory of their own by now did not follow."""
        memory = self.at_points.untyped_storage().data_ptr()
        for other in self.aliases:
            if other.at_points.untyped_storage().data_ptr() != memory:
                other.stale = True


def _apply(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    leaves, spec = pytree.tree_flatten((args, kwargs))
    traced = [leaf for leaf in leaves if isinstance(leaf, TracedTensor)]
    mesh = traced[0].mesh
    if func is torch.ops.aten._local_scalar_dense.default:
        raise NotPiecewiseLinearError(
            "the model reads a number that depends on its input (an if, a loop, item()), so that it is another network "
            "at every point; write the choice as torch.relu or torch.maximum"
        )
    written = _written(func, args, kwargs)
    kinks = read_kinks(func, args, kwargs, TracedTensor)
    if kinks is not None:
        _refine(mesh, kinks)
    inputs = [leaf.current() if isinstance(leaf, TracedTensor) else _plain(leaf) for leaf in leaves]
    compares = any(not leaf.at_points.is_floating_point() for leaf in traced)
    known = compares or kinks is not None or is_affine(func, args, kwargs, TracedTensor)
    checked = None if known else [_at_cells(value, leaf) for value, leaf in zip(inputs, leaves, strict=True)]
    where = [isinstance(leaf, TracedTensor) for leaf in leaves]
    found = _run(func, inputs, where, spec)
    if checked is not None:
        _check_affine(func, mesh, found, _run(func, checked, where, spec))
    if compares and any(result.is_floating_point() for result in pytree.tree_leaves(found)):
        raise NotPiecewiseLinearError(_COMPARES)
    if written:
        for tensor in written:
            tensor.was_written()
        return written[0] if len(written) == 1 else tuple(written)
    return _wrapped(func, found, traced[0])


def _refine(mesh: Mesh, kinks: Kinks) -> None:
    for values in kinks.crossings:
        mesh.split(values().flatten(1))
    if kinks.windows is not None and kinks.members is not None:
        mesh.split_windows(kinks.windows().flatten(1), kinks.members)


def _plain(leaf: Any) -> Any:
    """Return what does not depend on the input in the precision of the values."""
    if isinstance(leaf, Tensor) and leaf.is_floating_point():
        return leaf.detach().double().contiguous()  # pooling of other layouts writes strides that vmap does not know
    return torch.float64 if isinstance(leaf, torch.dtype) and leaf.is_floating_point else leaf


def _at_cells(value: Any, leaf: Any) -> Any:
    """Return values at points inside some cells; made before the operation, which may overwrite its input."""
    return leaf.mesh.inside(_CHECKED_CELLS).of(value) if isinstance(leaf, TracedTensor) else value


def _run(func: Any, inputs: list[Any], where: list[bool], spec: pytree.TreeSpec) -> Any:
    """Apply an operation to each row of the inputs that have one for each point."""

    def one(*rows: Tensor) -> Any:
        following = iter(rows)
        filled = [next(following) if dependent else value for value, dependent in zip(inputs, where, strict=True)]
        args, kwargs = pytree.tree_unflatten(filled, spec)
        return func(*args, **kwargs)

    batched = [value for value, dependent in zip(inputs, where, strict=True) if dependent]
    with enable_reentrant_dispatch():
        try:
            return torch.vmap(one)(*batched)
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise NotPiecewiseLinearError(
                f"{func._schema.name.removeprefix('aten::')} cannot be followed at many points at once: {error}"
            ) from error


def _check_affine(func: Any, mesh: Mesh, found: Any, inside: Any) -> None:
    """Refuse an operation whose value inside a cell is not the mean of its values at the corners."""
    cells = mesh.inside(_CHECKED_CELLS)
    for corners, between in zip(pytree.tree_leaves(found), pytree.tree_leaves(inside), strict=True):
        if not isinstance(corners, Tensor) or not corners.is_floating_point():
            continue
        if (cells.of(corners) - between).abs().max() > _TOLERANCE * corners.abs().max():
            raise NotPiecewiseLinearError(
                f"the model is not piecewise linear: {func._schema.name.removeprefix('aten::')} is none of the "
                "operations that are affine or have known kinks; its linear regions cannot be counted, but "
                "deviation_by_quadrature measures how far it is from linear"
            )


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[TracedTensor]:
    """Return the tensors that an operation overwrites."""
    arguments = func._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    written = []
    for argument in arguments:
        if argument.alias_info is not None and argument.alias_info.is_write and argument.name in given:
            tensor = given[argument.name]
            if not isinstance(tensor, TracedTensor):
                raise NotPiecewiseLinearError(
                    f"{func._schema.name.removeprefix('aten::')} writes what depends on the input into a tensor that "
                    "does not, which cannot be followed; write it out of place"
                )
            written.append(tensor)
    return written


def _wrapped(func: Any, found: Any, source: TracedTensor) -> Any:
    """Return the results of an operation as the model sees them.

    Args:
        func: the operation.
        found: its results at all points.
        source: the first of its tensors that depend on the input, which results may be views of.
    """
    views = any(result.alias_info is not None for result in func._schema.returns)

    def wrap(at_points: Tensor) -> TracedTensor:
        dtype = source.dtype if at_points.is_floating_point() and source.is_floating_point() else at_points.dtype
        made = TracedTensor(at_points, source.mesh, dtype)
        if views:
            made.share_with(source)
        return made

    return pytree.tree_map_only(Tensor, wrap, found)
