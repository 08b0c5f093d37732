"""What goes into modules and what comes out of them, while a model runs."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

Watcher = tuple[nn.Module, Callable[[Any], None]]


@contextmanager
def watched(*, entering: Iterable[Watcher] = (), leaving: Iterable[Watcher] = ()) -> Iterator[None]:
    """Call functions with the first argument or the output of modules that run; the hooks go at the end.

    They go also after an exception, be it the model's or one that a function raises to end the pass there.

    Args:
        entering: pairs of a module and what to call with its first argument, positional or not, before it runs; None
            where it has no argument.
        leaving: pairs of a module and what to call with its output. Watchers of one module are called in this order.

    Yields:
        Nothing.

    Example:
        >>> import torch
        >>> model = nn.Sequential(nn.Flatten(), nn.ReLU())
        >>> shapes = []
        >>> with watched(entering=[(model[1], lambda x: shapes.append(tuple(x.shape)))]):
        ...     out = model(torch.zeros(2, 3, 4))
        >>> shapes
        [(2, 12)]
    """
    with ExitStack() as stack:
        for module, see in entering:
            stack.callback(module.register_forward_pre_hook(_before(see), with_kwargs=True).remove)
        for module, see in leaving:
            stack.callback(module.register_forward_hook(_after(see)).remove)
        yield


def _before(see: Callable[[Any], None]) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        see(next(iter((*args, *kwargs.values())), None))

    return hook


def _after(see: Callable[[Any], None]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        see(output)

    return hook
