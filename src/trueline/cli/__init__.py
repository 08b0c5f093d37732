"""The command line: few verbs, each a thin call of the library."""

from trueline.cli._app import app

__all__ = ["app"]
