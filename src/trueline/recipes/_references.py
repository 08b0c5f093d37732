"""The sources whose claims more than one recipe tests."""

from trueline.contracts import facts_of
from trueline.data import cifar10
from trueline.supervise import DPS, ELR, PSKD, LabelSmoothing

DPS_PAPER = facts_of(DPS).references[0]
PSKD_PAPER = facts_of(PSKD).references[0]
ELR_PAPER = facts_of(ELR).references[0]
CIFAR10N_PAPER = facts_of(cifar10).references[1]
SMOOTHING_PAPER = facts_of(LabelSmoothing).references[-1]
