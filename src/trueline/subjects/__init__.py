"""A model with its samples: a finished run, or a network and data of your own."""

from trueline.subjects._subject import (
    SPLITS,
    STEERED_RECORD,
    Subject,
    inputs_of,
    load_factory,
    path_from,
    subject_of_model,
    subject_of_run,
)

__all__ = [
    "SPLITS",
    "STEERED_RECORD",
    "Subject",
    "inputs_of",
    "load_factory",
    "path_from",
    "subject_of_model",
    "subject_of_run",
]
