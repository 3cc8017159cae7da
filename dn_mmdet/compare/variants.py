"""Other ways to train DN-B, tried on the embedded detection set."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ['VARIANTS', 'Variant']


@dataclass(frozen=True)
class Variant:
    """An arm of the embedded benchmark with something changed.

    Attributes:
        arm (str): that is changed, as :data:`dn_mmdet.compare.embedded.ARMS` names it.
        options (Mapping[str, Any]): settings of the detector, dotted key to value. Default: {}.
        pretrained (bool): whether the pretraining is changed alike; otherwise the detector starts
            from a backbone as it is. Default: True.
        backbone (str, optional): arm whose backbone that is. Default: ``arm``.
    """

    arm: str
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    backbone: str | None = None


NORMALIZED = {'model.backbone.norm_cfg.sc_input': 'normalized'}
# The SC-Module is trained four times as fast as the rest.
FAST = {'optim_wrapper.paramwise_cfg': {'custom_keys': {'.sc.': {'lr_mult': 4.0}}}}
# Part of a folder's name to what is tried.
VARIANTS = {
    'sc_lr_x4': Variant('dnb', FAST),
    'g1_sc_lr_x4': Variant('dnb_g1', FAST),
    'bn_backbone': Variant('dnb', {'allow_bn_checkpoint': True}, pretrained=False, backbone='bn'),
    'normalized': Variant('dnb', NORMALIZED),
    'normalized_sc_lr_x4': Variant('dnb', {**NORMALIZED, **FAST}),
}
