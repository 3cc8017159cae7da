"""Normalization layers; torch is all they need."""

from .convert import convert_batchnorm
from .dnb import DNB
from .dnc import DNC
from .revert import revert_to_batchnorm
from .sc_module import SCModule
from .se_bn import SEBN

__all__ = ['DNB', 'DNC', 'SEBN', 'SCModule', 'convert_batchnorm', 'revert_to_batchnorm']
