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


NORM = 'model.backbone.norm_cfg.'
# Part of a folder's name to what is tried.
VARIANTS = {
    'normalized': Variant('dnb', {f'{NORM}sc_input': 'normalized'}),
    'detached': Variant('dnb', {f'{NORM}detach_gap': True}),
    'bn_backbone': Variant('dnb', {'allow_bn_checkpoint': True}, False, 'bn'),
}
