"""Normalization layers; torch is all they need."""

from .convert import convert_batchnorm
from .dnb import DNB
from .dnc import DNC
from .fold_activation import fold_activations
from .fuse import fuse_conv_dnb
from .revert import revert_to_batchnorm
from .sample_norms import DNGN, DNIN, DNLN
from .sc_module import SCModule
from .se_bn import SEBN

__all__ = [
    'DNB',
    'DNC',
    'DNGN',
    'DNIN',
    'DNLN',
    'SEBN',
    'SCModule',
    'convert_batchnorm',
    'fold_activations',
    'fuse_conv_dnb',
    'revert_to_batchnorm',
]
