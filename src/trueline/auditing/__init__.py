"""Audits: a trained model's predictions, and its geometry where it can be run, judged and explained."""

from trueline.auditing._audit import Audit, audit_predictions
from trueline.auditing._audit_arrays import audit
from trueline.auditing._audit_model import audit_model
from trueline.auditing._gate import Condition, parse_condition
from trueline.auditing._records import (
    ClassRow,
    Comparison,
    Detection,
    GroupRow,
    Mistake,
    ModelAudit,
    Sweep,
    Temperature,
)

__all__ = [
    "Audit",
    "ClassRow",
    "Comparison",
    "Condition",
    "Detection",
    "GroupRow",
    "Mistake",
    "ModelAudit",
    "Sweep",
    "Temperature",
    "audit",
    "audit_model",
    "audit_predictions",
    "parse_condition",
]
