"""Exit statuses, and errors as one plain message."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

FAILED = 1  # the work was understood and did not succeed
BAD_INPUT = 2  # what was asked for cannot be done; the message says how to mend it


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn the library's errors into a message on stderr and an exit status.

    Bad input (ValueError, TypeError, a missing file or extra) exits with 2; a training run that broke down with 1;
    an interrupted one with 128 plus the signal's number, as shells do.
    """
    from trueline.train import Interrupted, NonFiniteLossError

    try:
        yield
    except Interrupted as stop:
        typer.echo(str(stop), err=True)
        raise typer.Exit(stop.exit_code) from stop
    except NonFiniteLossError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(FAILED) from error
    except (ValueError, TypeError, ImportError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(BAD_INPUT) from error
