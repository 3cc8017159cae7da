"""The metrics of an exported model beside those of the PyTorch model that it comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn

from ..engine.preflight import run_preflight
from ..engine.preflight.registries import config_scope
from ..engine.run import build_runner
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config, metrics_of_test
from ..utils.errors import UserError
from ..utils.python39 import zip_strict
from ..utils.text import markdown_table
from .export import class_names
from .onnx_file import open_session, read_metadata

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ['evaluate_onnx']


def evaluate_onnx(
    config: str,
    checkpoint: str,
    model: str,
    work_dir: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> dict[str, dict[str, float]]:
    """Test a checkpoint in PyTorch, then its exported model in ONNX Runtime, on the same images.

    Args:
        config (str): Configuration file of a detector or classifier.
        checkpoint (str): Its weights.
        model (str): The .onnx file that was exported from them.
        work_dir (str, optional): Where logs go, as in :func:`dn_mmdet.engine.test`.
        cfg_options (Mapping, optional): Overrides, dotted key to value.

    Returns:
        dict[str, dict[str, float]]: Metrics of 'pytorch' and 'onnx', which are printed too.

    Raises:
        UserError: A mistake in configuration, data or checkpoint, or a model of something else.
    """
    session = open_session(model)
    about = read_metadata(session, model)
    if about['task'] not in ('detection', 'classification'):
        raise UserError(f'{model} is a backbone, which has no metrics: export the whole model.')
    cfg = load_test_config(config, checkpoint, work_dir, cfg_options)
    with config_scope(cfg):
        classes = class_names(cfg)
    if about['classes'] != classes:
        raise UserError(
            f'{model} was exported from {about["config"]!r} with the classes {about["classes"]}, '
            f'and those of {config} are {classes}: give the configuration that it comes from.'
        )
    notes = run_preflight(cfg, 'test')
    with as_user_errors(cfg):
        runner = build_runner(cfg, notes)
        found = {'pytorch': metrics_of_test(runner, checkpoint)}
        runner.model = _OnnxModel(session, model, about['task'], runner.model.data_preprocessor)
        found['onnx'] = metrics_of_test(runner, model, found['pytorch'])
    rows = [['metric', 'PyTorch', 'ONNX Runtime', 'difference']]
    for name, value in found['pytorch'].items():
        other = found['onnx'][name]
        rows.append([name, f'{value:.4f}', f'{other:.4f}', f'{other - value:+.4f}'])
    print(f'\n{markdown_table(rows)}')
    return found


class _OnnxModel(BaseModel):
    """What mmengine's test loop takes for a model, one image at a time."""

    def __init__(self, session: InferenceSession, file: str, task: str, preprocessor: nn.Module):
        super().__init__(preprocessor)
        self.session, self.file, self.task = session, file, task

    def forward(
        self, inputs: Tensor, data_samples: Sequence[BaseDataElement], mode: str = 'predict'
    ) -> Sequence[BaseDataElement]:
        shape = self.session.get_inputs()[0].shape[1:]
        if any(isinstance(a, int) and a != b for a, b in zip_strict(shape, inputs.shape[1:])):
            raise UserError(
                f'{self.file} takes images of {"x".join(map(str, shape[1:]))}, and the test '
                f'pipeline makes {inputs.shape[2]}x{inputs.shape[3]}: export it again with this '
                'configuration.'
            )
        for image, sample in zip_strict(inputs.cpu().numpy(), data_samples):
            outputs = self.session.run(None, {'images': image[None].astype(np.float32)})
            first, *rest = (torch.from_numpy(output[0]) for output in outputs)
            if self.task == 'classification':
                sample.pred_score = first
                continue
            kept = rest[0] >= 0
            scale = first.new_tensor(sample.scale_factor).repeat(2)
            sample.pred_instances = InstanceData(
                bboxes=first[kept, :4] / scale, scores=first[kept, 4], labels=rest[0][kept]
            )
        return data_samples
