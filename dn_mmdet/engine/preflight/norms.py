"""Telling which dynamic norms of a training are held where they start, as plain norms."""

from __future__ import annotations

from ...layers.dynamic_norm import DynamicNorm
from ...utils.text import first_few
from .planned import PlannedRun

__all__ = ['check_norms']


def check_norms(run: PlannedRun) -> None:
    """Note the dynamic norms that do the same to every image, and are not trained to do else.

    Their SC-Module is frozen, by ``frozen_stages`` or ``requires_grad=False`` as many
    configurations have it for BatchNorms, and its last layer is 0, as at start and in converted
    BatchNorms. To be called when the weights that the run starts from are in the model.
    """
    if run.mode != 'train':
        return
    # Some backbones freeze here, not in the constructor.
    run.model.train()
    norms = {
        name: module
        for name, module in run.model.named_modules()
        if isinstance(module, DynamicNorm)
    }
    still = [name for name, norm in norms.items() if _is_still(norm)]
    if still:
        run.note(
            f'{len(still)} of {len(norms)} dynamic norms are not trained and do the same to every '
            f'image, so they stay the norms that they start as ({first_few(still)}): to train '
            'them, set frozen_stages=-1 and requires_grad=True in norm_cfg.'
        )


def _is_still(norm: DynamicNorm) -> bool:
    trained = any(parameter.requires_grad for parameter in norm.parameters())
    return not trained and not norm.sc.fc2_weight.any()
