"""What scale and shift do to given images: the picture and the table of one checkpoint."""

import csv
import io
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, fields
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import track_iter_progress

from ..datasets.files.images import EXTENSIONS
from ..engine.config import load_config
from ..engine.preflight.checkpoint import check_test_checkpoint
from ..engine.run import as_user_errors
from ..figures.affine import plot_affine
from ..layers.dynamic_norm import DynamicNorm
from ..layers.inspect import AffineSummary, norm_layers, record_affine, summarise_affine
from ..utils.errors import UserError
from ..utils.files import atomic_write
from ..utils.text import markdown_table

__all__ = ['find_images', 'visualize_affine']


def visualize_affine(
    config: str,
    checkpoint: str,
    images: Sequence[str],
    out: str | None = None,
    layers: Sequence[str] = (),
    per_class: int = 10,
    cfg_options: dict | None = None,
) -> Path:
    """Run a detector or classifier on images; draw and tabulate alpha and lambda of its norms.

    Args:
        config (str): its configuration; images go through its test pipeline.
        checkpoint (str): its weights.
        images (Sequence[str]): image files, or folders of images, or a folder of class folders.
            Class folders are drawn by class, everything else by image.
        out (str, optional): folder for ``affine.png`` and ``affine.csv``. Default: ``affine`` in
            the work folder of the configuration.
        layers (Sequence[str]): names of the layers to draw. Default: the first and the last
            dynamic norm, the paper's DN-start and DN-end (of any norm where there is none).
        per_class (int): images of a class folder. Default: 10, as in the paper's Figure 4.
        cfg_options (dict, optional): overrides of the configuration, dotted key to value.

    Returns:
        Path: ``out``.

    Raises:
        UserError: a mistake in configuration, checkpoint, images or layer names.
    """
    cfg = load_config(config, cfg_options)
    groups = find_images(images, per_class)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model, pipeline = _prepare(cfg, checkpoint)
        chosen = _choose(model, layers)
        order = []
        with torch.no_grad(), as_user_errors(cfg), record_affine(model) as records:
            tasks = [(group, file) for group, files in groups.items() for file in files]
            for group, file in track_iter_progress(tasks):
                data = pipeline(dict(img_path=str(file), img_id=len(order)))
                model.test_step(pseudo_collate([data]))
                order.append(group)
    summaries = {name: summarise_affine(entries) for name, entries in records.items() if entries}
    folder = Path(out) if out else Path(cfg.work_dir) / 'affine'
    folder.mkdir(parents=True, exist_ok=True)
    plot_affine(
        {name: _by_group(name, records[name], order) for name in chosen},
        folder / 'affine.png',
        title=f'{Path(config).name}, {len(order)} images; line: mean, band: range',
    )
    _write_csv(summaries, folder / 'affine.csv')
    print(f'\n{_table(summaries)}\nIn {folder}/: affine.png, affine.csv')
    return folder


def find_images(images: Sequence[str], per_class: int = 10) -> dict[str, list[Path]]:
    """The files of each group: a class folder's first images, or one image.

    Raises:
        UserError: a path does not exist, or a folder holds no image.
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


def _images(folder):
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in EXTENSIONS)


def _prepare(cfg: Config, checkpoint: str):
    model = MODELS.build(deepcopy(cfg.model))
    cfg.load_from = checkpoint
    model.load_state_dict(check_test_checkpoint(checkpoint, model, cfg), strict=False)
    dataset = cfg.test_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset['dataset']
    steps = [step for step in dataset.pipeline if step['type'] != 'LoadAnnotations']
    return model.eval(), Compose(steps)


def _choose(model, layers):
    found = norm_layers(model)
    unknown = [name for name in layers if name not in found]
    if unknown:
        raise UserError(
            f'{unknown[0]} is no norm layer of the model; these are: {", ".join(found)}.'
        )
    dynamic = [name for name, layer in found.items() if isinstance(layer, DynamicNorm)]
    candidates = dynamic or list(found)
    if not candidates:
        raise UserError('the model has no norm layer with scale and shift.')
    return list(layers) or list(dict.fromkeys((candidates[0], candidates[-1])))


def _by_group(name, entries, order):
    if len(entries) != len(order):
        raise UserError(
            f'{name} runs {len(entries) // max(len(order), 1)} times for an image, so '
            'that its values are no single line: choose other --layers.'
        )
    groups = {}
    for group, (alpha, shift, _) in zip(order, entries, strict=True):
        groups.setdefault(group, []).append((alpha, shift))
    return {
        group: tuple(torch.cat(values) for values in zip(*pairs, strict=True))
        for group, pairs in groups.items()
    }


def _table(summaries):
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


def _write_csv(summaries, file):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['layer', *(field.name for field in fields(AffineSummary))])
    for name, summary in summaries.items():
        writer.writerow([name, *asdict(summary).values()])
    with atomic_write(file) as out:
        out.write(text.getvalue().encode())
