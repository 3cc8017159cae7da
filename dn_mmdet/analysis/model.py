"""The model of a configuration, built to be looked at: no data set is needed."""

from copy import deepcopy

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from ..engine.preflight.checkpoint import check_test_checkpoint
from ..engine.preflight.registries import config_mistakes
from ..utils.errors import UserError
from ..utils.text import error_line

__all__ = ['build_model', 'load_model']


def build_model(cfg: Config) -> nn.Module:
    """Build the model of a configuration, for one process, with random weights.

    Args:
        cfg (Config): Is not changed.

    Raises:
        UserError: The model cannot be built.
    """
    try:
        with config_mistakes(cfg, 'the model'):
            return revert_sync_batchnorm(MODELS.build(deepcopy(cfg.model)))
    # mmdet has KeyErrors of its own, and a few models read files or import further packages.
    except (KeyError, AttributeError, RuntimeError, OSError, ImportError) as error:
        raise UserError(
            f'{cfg.filename}: the model cannot be built ({error_line(error)}): correct the '
            'configuration or --cfg-options.'
        ) from error


def load_model(cfg: Config, checkpoint: str) -> nn.Module:
    """Build a trained model, in evaluation mode.

    Args:
        cfg (Config): Is not changed.
        checkpoint (str): Must give every weight of the model. It is read once.

    Raises:
        UserError: The model cannot be built, or the checkpoint is missing, would run code, or does
            not fit.
    """
    model = build_model(cfg)
    # As mmengine's Runner does: the counters of batches in BatchNorm may be missing.
    model.load_state_dict(check_test_checkpoint(checkpoint, model, cfg), strict=False)
    return model.eval()
