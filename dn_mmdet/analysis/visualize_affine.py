"""What scale and shift do to given images: the picture and the table of one checkpoint."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Optional

import torch
from mmcv.transforms import LoadAnnotations
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS
from torch import Tensor, nn
from tqdm import tqdm

from ..datasets.files.images import EXTENSIONS
from ..engine.preflight import PlannedRun
from ..engine.preflight.registries import config_scope, find_type
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config
from ..figures.affine import plot_affine
from ..layers.dynamic_norm import DynamicNorm
from ..layers.inspect import AffineSummary, norm_layers, record_affine, summarize_affine
from ..utils.errors import UserError
from ..utils.files import check_output_folder, write_text
from ..utils.python39 import zip_strict
from ..utils.text import markdown_table
from .model import load_model

__all__ = ['find_images', 'image_pipeline', 'visualize_affine']

Entries = Sequence[
    tuple[Tensor, Tensor, Optional[Tensor]]
]  # of one layer, as record_affine has them


def visualize_affine(
    config: str,
    checkpoint: str,
    images: Sequence[str],
    out: str | None = None,
    layers: Sequence[str] = (),
    per_class: int = 10,
    cfg_options: Mapping[str, Any] | None = None,
) -> Path:
    """Run a detector or classifier on images; draw and tabulate alpha and lambda of its norms.

    Args:
        config (str): Its configuration; images go through its test pipeline.
        checkpoint (str): Its weights.
        images (Sequence[str]): Image files, or folders of images, or a folder of class folders.
            Class folders are drawn by class, everything else by image.
        out (str, optional): Folder for ``affine.png`` and ``affine.csv``. Defaults to ``affine``
            in the work folder of the configuration.
        layers (Sequence[str]): Names of the layers to draw. Defaults to the first and the last
            dynamic norm, the paper's DN-start and DN-end (of any norm where there is none).
        per_class (int): Images of a class folder. Defaults to 10, as in the paper's Figure 4.
        cfg_options (Mapping, optional): Overrides of the configuration, dotted key to value.

    Returns:
        Path: ``out``.

    Raises:
        UserError: A mistake in configuration, checkpoint, images or layer names.
    """
    cfg = load_test_config(config, checkpoint, cfg_options=cfg_options)
    folder = Path(out) if out else Path(cfg.work_dir) / 'affine'
    check_output_folder(folder, '--out')
    groups = find_images(images, per_class)
    with config_scope(cfg):
        model, pipeline = load_model(cfg, checkpoint), image_pipeline(cfg)
        _check_names(model, layers)
        order = []
        with torch.no_grad(), as_user_errors(cfg), record_affine(model) as records:
            tasks = [(group, file) for group, files in groups.items() for file in files]
            for group, file in tqdm(tasks, desc='images', unit='image', disable=None):
                data = pipeline(dict(img_path=str(file), img_id=len(order)))
                model.test_step(pseudo_collate([data]))
                order.append(group)
    summaries = {name: summarize_affine(entries) for name, entries in records.items() if entries}
    chosen = list(layers) or _first_and_last(model, list(summaries))
    folder.mkdir(parents=True, exist_ok=True)
    plot_affine(
        {name: _by_group(name, records[name], order) for name in chosen},
        folder / 'affine.png',
        title=f'{Path(config).name}, {len(order)} images; line: mean, band: range',
    )
    _write_csv(summaries, folder / 'affine.csv')
    print(f'\n{_table(summaries)}\nIn {folder}/: affine.png, affine.csv')
    return folder


def find_images(images: Sequence[str], per_class: int | None = 10) -> dict[str, list[Path]]:
    """The files of each group: a class folder's first images, or one image.

    Args:
        images (Sequence[str]): As in :func:`visualize_affine`.
        per_class (int, optional): As there; None takes all. Defaults to 10.

    Returns:
        dict[str, list[Path]]: Class or name of the image to its files.

    Raises:
        UserError: A path does not exist, or a folder holds no image.
    """
    groups = {}
    for path in map(Path, images):
        if not path.exists():
            raise UserError(
                f'the image {path} does not exist: give image files, a folder of '
                'images, or a folder of class folders.'
            )
        if path.is_file():
            groups[path.name] = [path]
            continue
        classes = {
            folder.name: _images(folder)[:per_class]
            for folder in sorted(path.iterdir())
            if folder.is_dir() and _images(folder)
        }
        groups.update(classes or {file.name: [file] for file in _images(path)})
        if not classes and not _images(path):
            raise UserError(
                f'{path} holds no image ({", ".join(EXTENSIONS)}), nor class folders '
                'with images: give another folder.'
            )
    return groups


def image_pipeline(cfg: Config) -> Compose:
    """The test pipeline, without what reads annotations; in the scope of the configuration."""
    dataset = next(iter(PlannedRun(cfg, 'test').datasets()))
    steps = [(step, find_type(TRANSFORMS, step.get('type'))) for step in dataset.cfg['pipeline']]
    return Compose(
        [
            step
            for step, cls in steps
            if not (isinstance(cls, type) and issubclass(cls, LoadAnnotations))
        ]
    )


def _images(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS)


def _check_names(model: nn.Module, layers: Sequence[str]) -> None:
    found = norm_layers(model)
    unknown = [name for name in layers if name not in found]
    if unknown:
        raise UserError(
            f'{unknown[0]} is not a norm layer of the model; its norm layers are: '
            f'{", ".join(found)}.'
        )
    if not found:
        raise UserError('the model has no norm layer with scale and shift.')


def _first_and_last(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Of the layers that were run; a backbone may have stages behind its last output."""
    dynamic = [name for name in names if isinstance(model.get_submodule(name), DynamicNorm)]
    candidates = dynamic or names
    return list(dict.fromkeys((candidates[0], candidates[-1])))


def _by_group(
    name: str, entries: Entries, order: Sequence[str]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Alpha and lambda of a layer's samples, each (N, C), by the group of their image."""
    if len(entries) != len(order):
        raise UserError(
            f'{name} runs {len(entries) // max(len(order), 1)} times per image, so it '
            'has no single set of values: choose other --layers.'
        )
    groups = {}
    for group, (alpha, shift, _) in zip_strict(order, entries):
        groups.setdefault(group, []).append((alpha, shift))
    return {
        group: tuple(torch.cat(values) for values in zip_strict(*pairs))
        for group, pairs in groups.items()
    }


def _table(summaries: Mapping[str, AffineSummary]) -> str:
    cells = [
        ['layer', 'alpha', 'spread', 'lambda', 'spread', 'units', 'spread', 'saturated', 'dead']
    ]
    cells += [
        [
            name,
            f'{s.alpha_mean:.3f}',
            f'{s.alpha_spread:.3f}',
            f'{s.lambda_mean:.3f}',
            f'{s.lambda_spread:.3f}',
            str(s.units),
            f'{s.unit_spread:.3f}',
            str(s.saturated),
            str(s.dead),
        ]
        for name, s in summaries.items()
    ]
    return markdown_table(cells)


def _write_csv(summaries: Mapping[str, AffineSummary], file: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['layer', *(field.name for field in fields(AffineSummary))])
    for name, summary in summaries.items():
        writer.writerow([name, *asdict(summary).values()])
    write_text(file, text.getvalue())
