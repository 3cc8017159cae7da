"""From a configuration and a checkpoint to an ONNX file that computes the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS
from torch import Tensor, nn

from ..analysis.config_complexity import find_input_shape
from ..analysis.model import load_model
from ..analysis.visualize_affine import find_images, image_pipeline
from ..datasets.files.images import EXTENSIONS
from ..engine.preflight.registries import config_scope, find_type
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config
from ..layers import fuse_conv_dnb
from ..utils.errors import UserError
from ..utils.files import atomic_write, check_output_file
from ..utils.python39 import zip_strict
from ..version import __version__
from .graph import make_graph
from .onnx_file import OPSET, OPSETS, check_packages, onnx_bytes, open_session
from .verify import compare_outputs

__all__ = ['class_names', 'export_onnx']


def export_onnx(
    config: str,
    checkpoint: str,
    out: str | None = None,
    images: Sequence[str] = (),
    shape: Sequence[int] | None = None,
    part: str = 'model',
    opset: int = OPSET,
    dynamic_size: bool = False,
    one_image: bool = False,
    int8: Sequence[str] = (),
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Export a detector, a classifier or a backbone, compare with PyTorch, then write the file.

    DN-Bs are folded into the convolutions in front of them. The file is written only if ONNX
    Runtime computes from it what the model does in PyTorch, with mmdet's own post-processing.

    Args:
        config (str): Configuration file.
        checkpoint (str): Must give every weight of the model.
        out (str, optional): The file, ending in .onnx. Defaults to the name of the configuration
            in its work folder.
        images (Sequence[str]): Images or folders of images to compare on, through the test
            pipeline. Defaults to none: noise.
        shape (Sequence[int], optional): Height and width of the input. Defaults to those of the
            test pipeline or of ``input_size``.
        part (str): 'model' or 'backbone'. Defaults to 'model'.
        opset (int): Version of ONNX's operators. Defaults to 17.
        dynamic_size (bool): Height and width may differ too; a detector has anchors for one size.
            Defaults to False.
        one_image (bool): The batch is one image, which makes DN-B faster; otherwise batches of any
            size may be given. Defaults to False.
        int8 (Sequence[str]): Images or folders of images by which ranges are calibrated for a
            model with convolutions in 8 bits; its differences are reported, not judged. Defaults
            to none: float32.
        cfg_options (Mapping, optional): Overrides of the configuration, dotted key to value.

    Returns:
        Path: The file.

    Raises:
        UserError: An argument is wrong, the model cannot be exported, or the exported one differs.
    """
    check_packages()
    cfg = load_test_config(config, checkpoint, cfg_options=cfg_options)
    file = Path(out) if out else Path(cfg.work_dir) / f'{Path(config).stem}.onnx'
    check_output_file(file, 'OUT')
    if file.suffix != '.onnx':
        raise UserError(f'OUT {str(file)!r} must be the name of a file that ends in .onnx.')
    if opset not in OPSETS:
        raise UserError(
            f'--opset {opset} is not supported: give a number from {OPSETS[0]} to {OPSETS[-1]}.'
        )
    size = _size(cfg, shape)
    with config_scope(cfg):
        model = load_model(cfg, checkpoint)
        channels = (cfg.model.get('backbone') or {}).get('in_channels', 3)
        noise = torch.randn(2, channels, *size, generator=torch.Generator().manual_seed(0))
        batch = _batch(cfg, model, images, size) if images else noise
        calibration = _batch(cfg, model, int8, size) if int8 else None
        try:
            graph = make_graph(model, noise, part)
        except RuntimeError as error:
            raise UserError(
                f'the model does not run on images of {size[0]}x{size[1]} '
                f'({" ".join(str(error).split())[:200]}): give another --shape.'
            ) from error
        if dynamic_size and graph.task == 'detection':
            raise UserError(
                '--dynamic-size: a detector has the anchors of one size of images; export its '
                'backbone with --part backbone, or one file for each --shape.'
            )
        with torch.no_grad():
            expected = graph.expected(batch)
        try:
            folded = fuse_conv_dnb(model, None if int8 else noise)
        except ValueError as error:
            raise UserError(str(error)) from error
        metadata = _metadata(cfg, config, model, size, graph.task)
        content = onnx_bytes(graph, noise, metadata, opset, dynamic_size, one_image)
    if calibration is not None:
        from .quantize import quantize_bytes

        content = quantize_bytes(content, calibration)
    session = open_session(content)
    found = [_run(session, image[None]) for image in batch]
    found = [np.concatenate(parts) for parts in zip_strict(*found)]
    what = f'{len(batch)} {"images" if images else "images of noise"}'
    report = compare_outputs(
        graph.task, graph.names(found), [e.numpy() for e in expected], found, strict=not int8
    )
    if not one_image:
        # As one batch too, which is what a dynamic axis is for.
        whole = _run(session, batch)
        compare_outputs(graph.task, graph.names(found), found, whole, strict=not int8)
    with atomic_write(file) as stream:
        stream.write(content)
    print(
        f'{file}: {graph.task}, {size[0]}x{size[1]}, {folded} DN-Bs folded, '
        f'{len(content) / 1e6:.1f} MB. ONNX Runtime against PyTorch on {what}: {report}.'
    )
    return file


def class_names(cfg: Config) -> list[str]:
    """Names of the classes of a configuration's data sets, or none.

    Args:
        cfg (Config): In its scope.
    """
    for name in ('test_dataloader', 'val_dataloader', 'train_dataloader'):
        dataset = (cfg.get(name) or {}).get('dataset') or {}
        own = getattr(find_type(DATASETS, dataset.get('type')), 'METAINFO', {})
        classes = {**own, **(dataset.get('metainfo') or {})}.get('classes')
        if classes:
            return [classes] if isinstance(classes, str) else list(classes)
    return []


def _size(cfg: Config, shape: Sequence[int] | None) -> tuple[int, int]:
    size = tuple(shape or find_input_shape(cfg) or ())
    if len(size) != 2 or min(size) < 1:
        raise UserError(
            f'{cfg.filename}: the size of the input is {size or "not known"}: give --shape H W, '
            'in pixels.'
        )
    return size


def _batch(cfg: Config, model: nn.Module, paths: Sequence[str], size: tuple[int, int]) -> Tensor:
    """Images as the model gets them, (N, C, H, W)."""
    files = [file for group in find_images(paths, per_class=None).values() for file in group]
    wrong = [file for file in files if file.suffix.lower() not in EXTENSIONS]
    if wrong:
        raise UserError(f'{wrong[0]} is no image ({", ".join(EXTENSIONS)}): give others.')
    pipeline, batch = image_pipeline(cfg), []
    with as_user_errors(cfg):
        for i, file in enumerate(files):
            data = pseudo_collate([pipeline(dict(img_path=str(file), img_id=i))])
            image = model.data_preprocessor(data, False)['inputs']
            image = torch.stack(image) if isinstance(image, list) else image
            if tuple(image.shape[2:]) != size:
                raise UserError(
                    f'the test pipeline makes {image.shape[2]}x{image.shape[3]} of {file}, not '
                    f'{size[0]}x{size[1]}: give that as --shape, or a Resize with '
                    'keep_ratio=False in the test pipeline.'
                )
            batch.append(image.float())
    return torch.cat(batch)


def _metadata(
    cfg: Config, config: str, model: nn.Module, size: tuple[int, int], task: str
) -> dict[str, Any]:
    pre = model.data_preprocessor

    def numbers(name: str, default: float) -> list[float]:
        values = getattr(pre, name, None)
        return [default] if values is None else [float(v) for v in values.flatten()]

    return dict(
        task=task,
        config=Path(config).name,
        classes=class_names(cfg),
        input_size=list(size),
        resize=_resize(cfg, size, getattr(pre, 'pad_size_divisor', 1)),
        mean=numbers('mean', 0.0),
        std=numbers('std', 1.0),
        channel_order='RGB' if getattr(pre, '_channel_conversion', False) else 'BGR',
        version=__version__,
    )


def _resize(cfg: Config, size: tuple[int, int], divisor: int) -> dict[str, Any] | None:
    """What demo.py does to an image before it normalizes, or None if it cannot."""
    steps = [
        (name, step)
        for step in image_pipeline(cfg).transforms
        if not (name := type(step).__name__).startswith(('Load', 'Pack'))
    ]
    names = [name for name, _ in steps]
    scale = names[:1] == ['Resize'] and steps[0][1].scale
    if not scale:
        return None
    stretched = not steps[0][1].keep_ratio
    if names == ['Resize'] and stretched and not any(value % divisor for value in scale):
        return dict(short_edge=None)
    # The long edge comes as it is: (256, 1000000).
    by_short_edge = not stretched and max(scale) > 100 * min(scale) and min(scale) >= max(size)
    if names == ['Resize', 'CenterCrop'] and by_short_edge and steps[1][1].crop_size[::-1] == size:
        return dict(short_edge=min(scale))
    return None


def _run(session: Any, batch: Tensor) -> list[np.ndarray]:
    return session.run(None, {'images': batch.numpy()})
