"""Models with a given norm, and the step of each that is measured."""

import inspect
import logging
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import is_list_of
from torch import Tensor, nn

from ...backbones import MobileNetV2DN
from ...engine.check_types import config_mistakes
from ...engine.config import load_config
from ...engine.errors import UserError
from ...ops import choose_path, use_path
from ...ops.benchmark import LAYOUTS
from .cells import MOBILENET, NORMS, Cell

__all__ = ['Subject', 'build_subject', 'can_fold']


@dataclass
class Subject:
    """A model with one norm and the parts of its step.

    Attributes:
        forward (Callable[[], Tensor]): the loss, or in evaluation the model's output.
        call (Callable[[], object]): the whole step, which leaves no gradient behind.
        path (str | None): of DN-B's operator, what in fact runs.
    """

    forward: Callable[[], Tensor]
    call: Callable[[], object]
    path: str | None


def can_fold() -> bool:
    """Whether the backbone knows how to fold its activation into the norm."""
    return 'fold_activation' in inspect.signature(MobileNetV2DN).parameters


def build_subject(cell: Cell, norm: str, device: torch.device) -> Subject:
    """Build a cell's model with a norm, the same random weights and input for all.

    Args:
        cell (Cell): model, mode, input.
        norm (str): key of ``NORMS``.
        device (torch.device): where it runs.

    Raises:
        UserError: the configuration is wrong, or its model cannot have that norm.
    """
    how = NORMS[norm]
    with torch.random.fork_rng(devices=[]), _quiet():
        torch.manual_seed(0)
        if cell.model == MOBILENET:
            fold = {} if how.fold is None or not can_fold() else dict(fold_activation=how.fold)
            model = MobileNetV2DN(norm_cfg=dict(how.cfg), out_indices=(7, ), **fold)
            run = partial(_run_plain, model)
        else:
            model, scope = _build_config(cell.model, norm)
            run = partial(_run_detector if hasattr(model, 'parse_losses') and hasattr(
                model, 'data_preprocessor') and _is_detector(model) else _run_plain, model)
        model.to(device, memory_format=LAYOUTS[cell.layout]).train(cell.mode == 'train')
        torch.manual_seed(1)
        run = partial(run, *_inputs(cell, device)) if False else run
    del scope
    return model, run
