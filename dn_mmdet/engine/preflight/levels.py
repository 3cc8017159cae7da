"""Checking that the parts of a detector fit each other: levels and channels of its maps."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from ...utils.errors import UserError
from ...utils.text import error_text
from .planned import PlannedRun, silence

__all__ = ['check_levels']

# Detectors whose maps go from the backbone through the neck to these heads, and no other way.
KINDS = {'SingleStageDetector': 'bbox_head', 'TwoStageDetector': 'rpn_head'}
# An image of this size has a level of 1 pixel or more behind every stride that detectors use.
SIZE = 640
# What torch says of maps and weights that do not fit, on the meta device and elsewhere.
MISMATCH = re.compile(
    r'Invalid channel dimensions|to have \d+ channels, but|must have same reduction dim'
    r'|shapes cannot be multiplied|running_mean should contain|expected input with shape'
)


def check_levels(run: PlannedRun) -> None:
    """Send maps without content through backbone, neck and head of a detector.

    It costs no arithmetic: the parts are copied to torch's meta device, where maps have a shape
    alone. What cannot run there, or fails in a way of its own, is left to the run.

    Raises:
        UserError: Neck or head do not take what the part before them gives, or the head has
            anchors for another number of levels.
    """
    found = _parts(run.model)
    if found is None:
        return
    backbone, neck, head, name = found
    with torch.no_grad(), torch.random.fork_rng(devices=[]), silence():
        maps = _run(backbone, torch.empty(1, 3, SIZE, SIZE, device='meta'), run, '', None)
        if maps is None:
            return
        before = 'backbone'
        if neck is not None:
            maps = _run(neck, maps, run, 'neck', (before, maps))
            before = 'neck'
        if maps is None:
            return
        given = maps if isinstance(maps, (tuple, list)) else (maps,)
        outputs = _run(head, maps, run, name, (before, maps))
    levels = getattr(getattr(head, 'prior_generator', None), 'num_levels', None)
    if outputs is None or not isinstance(levels, int):
        return
    of_head = outputs[0] if isinstance(outputs, (tuple, list)) and outputs else None
    if not isinstance(of_head, (tuple, list)):
        return
    if not levels == len(of_head) == len(given):
        raise UserError(
            f'model.{name} of {run.cfg.filename} does not fit model.{before}: it is given '
            f'{len(given)} levels ({_described(maps)}), predicts for {len(of_head)}, and has '
            f'anchors for {levels}: give its in_channels, and its strides and sizes, one entry '
            'for each level.'
        )


def _parts(model: nn.Module) -> tuple[nn.Module, nn.Module | None, nn.Module, str] | None:
    """Backbone, neck and head on the meta device, and the head's name."""
    for base in type(model).__mro__:
        name = KINDS.get(base.__name__)
        if name is None:
            continue
        head = getattr(model, name, None)
        own = getattr(type(model), 'extract_feat', None)
        if own is not base.extract_feat or head is None or not _takes_maps(head):
            return None
        neck = model.neck if model.with_neck else None
        try:
            parts = [_shape_only(part) for part in (model.backbone, neck, head)]
        except Exception:  # a part is code of anyone
            return None
        return (*parts, name)
    return None


def _shape_only(part: nn.Module | None) -> nn.Module | None:
    if part is None:
        return None
    part = deepcopy(part).to('meta')
    part.eval()  # which mmdet's backbones do not return
    return part


def _takes_maps(head: nn.Module) -> bool:
    """Whether the maps are all that a head's forward pass needs."""
    required = [
        parameter
        for parameter in inspect.signature(head.forward).parameters.values()
        if parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
    ]
    return len(required) == 1


def _run(
    part: nn.Module, maps: Any, run: PlannedRun, name: str, before: tuple[str, Any] | None
) -> Any:
    """What a part makes of its input, None where it cannot run here."""
    try:
        return part(maps)
    except Exception as error:  # a part is code of anyone
        if before is None or not _is_mismatch(error):
            return None
        raise UserError(
            f'model.{name} of {run.cfg.filename} does not fit model.{before[0]}, which gives '
            f'{_described(before[1])}: {_reason(error, part)}. Set '
            f'model.{name}.in_channels to what it is given.'
        ) from error


def _is_mismatch(error: Exception) -> bool:
    if isinstance(error, RuntimeError):
        return MISMATCH.search(str(error)) is not None
    # As mmdet's own necks and heads: assert len(inputs) == len(self.in_channels)
    return isinstance(error, AssertionError) and 'len(' in _line(error)


def _reason(error: Exception, part: nn.Module) -> str:
    """The innermost layer that refused its input, and what it takes."""
    names = {module: name for name, module in part.named_modules()}
    frames = [frame.f_locals.get('self') for frame, _ in traceback.walk_tb(error.__traceback__)]
    layer = next((m for m in reversed(frames) if isinstance(m, nn.Module) and m in names), None)
    channels = getattr(layer, 'in_channels', None)
    if isinstance(channels, int):
        return f'{names[layer]} takes {channels}'.strip()
    if isinstance(channels, Sequence):
        return f'its in_channels are {list(channels)}'
    return error_text(error) or _line(error)


def _line(error: Exception) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].line or ''


def _described(maps: Any) -> str:
    maps = [m for m in (maps if isinstance(maps, Sequence) else [maps]) if isinstance(m, Tensor)]
    channels = ', '.join(str(m.shape[1]) for m in maps if m.ndim > 1)
    return f'{len(maps)} levels of {channels} channels'
