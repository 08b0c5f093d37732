"""``python -m trueline``, which is also how ``torchrun -m`` starts the program."""

from trueline.cli import app

app()
