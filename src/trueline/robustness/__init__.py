"""Robustness: what a classifier still gets right under attack and under common corruptions.

Attacks work on inputs in [0, 1]; a normalisation belongs inside the model, see ``models.Normalized``.
"""

from trueline.robustness._apgd import apgd_ce, apgd_dlr, apgd_dlr_targeted
from trueline.robustness._autoattack import autoattack
from trueline.robustness._corrupt import CORRUPTIONS, corrupt
from trueline.robustness._corruption_accuracy import CorruptionAccuracy, corruption_accuracy
from trueline.robustness._pgd import pgd
from trueline.robustness._robust_accuracy import ATTACKS, robust_accuracy
from trueline.robustness._robustness_record import AttackRow, RobustAccuracy
from trueline.robustness._square import square_attack

__all__ = [
    "ATTACKS",
    "CORRUPTIONS",
    "AttackRow",
    "CorruptionAccuracy",
    "RobustAccuracy",
    "apgd_ce",
    "apgd_dlr",
    "apgd_dlr_targeted",
    "autoattack",
    "corrupt",
    "corruption_accuracy",
    "pgd",
    "robust_accuracy",
    "square_attack",
]
