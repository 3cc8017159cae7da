"""What weights were trained with: pixels and eps, to be those of the model that takes them over."""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...utils.python39 import zip_strict
from ...weights import Training, translate
from ..checkpoint_file import meta_of
from ..config_text import literal

__all__ = ['training_notes']


def training_notes(
    content: Mapping, state: Mapping[str, Tensor], cfg: Config, model: nn.Module, path: str
) -> list[str]:
    """Compare what weights were trained with to what a model will see.

    A checkpoint says it in its metadata: in ``training`` (as ``bn_to_dnb.py`` writes it), or in the
    text of its configuration, which is not run. Otherwise the library whose names the weights have
    tells, as far as it publishes them with one preprocessing.

    Args:
        content (Mapping): What the file holds.
        state (Mapping[str, Tensor]): Its weights, under the names that they have in it.
        cfg (Config): Of the run.
        model (nn.Module): The model, or the backbone that takes the weights over.
        path (str): The file, for the notes.

    Returns:
        list[str]: What differs.
    """
    training, notes = _training_of(content, state, model), []
    if training is None:
        return notes
    own = _as_training(cfg.model.get('data_preprocessor'))
    if own is not None and not _same_pixels(training, own):
        notes.append(
            f'{path} was trained on {_worded(training)}, and model.data_preprocessor gives '
            f'{_worded(own)}: with the former the weights fit from the first step.'
        )
    backbone = getattr(model, 'backbone', model)
    eps = next((m.eps for m in backbone.modules() if isinstance(m, _BatchNorm)), None)
    if eps and training.eps and not math.isclose(eps, training.eps, rel_tol=0.01):
        notes.append(
            f'{path} was trained with eps={training.eps:g} in the BatchNorms of the backbone, '
            f'which has eps={eps:g}: with the former in norm_cfg it computes the same.'
        )
    return notes


def _training_of(
    content: Mapping, state: Mapping[str, Tensor], model: nn.Module
) -> Training | None:
    meta = meta_of(content)
    if told := _as_training(meta.get('training')):
        return told
    text = meta.get('cfg')
    if isinstance(text, str) and (told := _as_training(_preprocessor_in(text))):
        return told
    found = translate(state, model.state_dict())
    return found.convention.training.get(found.architecture)


def _preprocessor_in(text: str) -> Any:
    """``model.data_preprocessor`` of a configuration's text."""
    with suppress(SyntaxError, ValueError, TypeError, KeyError):
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], 'id', '') == 'model':
                return literal(node.value)['data_preprocessor']
    return None


def _as_training(told: Any) -> Training | None:
    """From metadata or a data preprocessor; None where it does not give numbers."""
    if not isinstance(told, Mapping):
        return None
    mean, std, eps = (
        value.tolist() if isinstance(value, Tensor) else value
        for value in map(told.get, ('mean', 'std', 'eps'))
    )
    if not _are_numbers(mean) or not _are_numbers(std) or len(mean) != len(std):
        return None
    rgb = told.get('rgb', told.get('bgr_to_rgb', False))
    return Training(tuple(mean), tuple(std), bool(rgb), eps if _are_numbers([eps]) else None)


def _are_numbers(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and all(isinstance(value, (int, float)) for value in values)
    )


def _same_pixels(a: Training, b: Training) -> bool:
    return (
        a.rgb == b.rgb
        and len(a.mean) == len(b.mean)
        and all(math.isclose(x, y, rel_tol=0.01) for x, y in zip_strict(a.mean, b.mean))
        and all(math.isclose(x, y, rel_tol=0.01) for x, y in zip_strict(a.std, b.std))
    )


def _worded(training: Training) -> str:
    mean, std = (', '.join(f'{x:g}' for x in values) for values in (training.mean, training.std))
    return f'{"RGB" if training.rgb else "BGR"} pixels with mean {mean} and std {std}'
