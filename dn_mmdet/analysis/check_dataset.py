"""A look at the data of a configuration: all that is wrong, what is used, and a contact sheet."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from tqdm import tqdm

from ..engine.config import load_config
from ..engine.preflight import DatasetContent, PlannedDataset, PlannedRun, survey_data
from ..engine.preflight.registries import config_scope
from ..engine.run import prepare_process
from ..figures.labeled_images import LabeledImage, draw_labeled_images
from ..utils.errors import UserError
from ..utils.text import error_line, markdown_table
from .loaded_dataset import LoadedDataset, Usage

__all__ = ['PARTS', 'check_dataset']

PARTS = ('train', 'val', 'test')
PICTURES = ('.png', '.svg', '.pdf')
# Of more classes, those with the fewest labels are listed.
MANY_CLASSES = 100


def check_dataset(
    config: str,
    out: str | None = None,
    num: int = 12,
    seed: int = 0,
    parts: Sequence[str] | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> None:
    """Check the data sets of a configuration, list all that is found, and draw random images.

    Args:
        config (str): The configuration file. Without a model the number of classes is not checked.
        out (str, optional): The picture, .png, .svg or .pdf, or a folder for a picture of each data
            set. Defaults to ``check_dataset.png`` in the work folder of the configuration.
        num (int): Number of images that are drawn of each data set; 0 draws nothing. Defaults to
            12.
        seed (int): Decides which images. Defaults to 0.
        parts (Sequence[str], optional): Which of 'train', 'val' and 'test' are looked at. Defaults
            to those that the configuration has.
        cfg_options (Mapping, optional): Overrides, dotted key to value.

    Raises:
        UserError: A mistake in the configuration; or, when all is printed, in the data.
    """
    if num < 0 or seed < 0:
        raise UserError(f'--num {num} and --seed {seed} must not be negative.')
    prepare_process()
    cfg = load_config(config, cfg_options)
    parts = _chosen_parts(cfg, parts)
    picture = _picture(out, cfg)
    print(f'Checking the data of {config}: {", ".join(parts)}', flush=True)
    run = survey_data(cfg, parts)
    usages, boxes, sheets = {}, {}, {}
    with config_scope(cfg):
        for name, data in _distinct(run).items():
            loaded = _load(run, name, data)
            if loaded is not None:
                usages[name] = loaded.usage
                boxes[name] = run.contents.get(data.key, DatasetContent()).boxes
                sheets[name] = _sample(run, name, loaded, num, seed)
    print(f'\n{_usage_table(usages, boxes)}\n\n{_class_table(usages)}' if usages else '')
    for title, sentences in (('Notes', run.notes), ('Mistakes', run.errors)):
        if sentences:
            print(f'\n{title}:')
            print('\n'.join(f'{i}. {sentence}' for i, sentence in enumerate(sentences, 1)))
    for file in _write(sheets, usages, picture):
        print(f'\nContact sheet: {file}')
    if run.errors:
        number = len(run.errors)
        raise UserError(
            f'{number} mistake{"s were" if number > 1 else " was"} found in the data of {config}, '
            'see above.'
        )
    print('\nNo mistakes were found.')


def _chosen_parts(cfg: Config, parts: Sequence[str] | None) -> list[str]:
    there = [part for part in PARTS if cfg.get(f'{part}_dataloader') is not None]
    absent = [part for part in parts or () if part not in there]
    if absent or not there:
        raise UserError(
            f'{cfg.filename} has no {absent[0] if absent else "train"}_dataloader: give a '
            'configuration with data sets' + (f', or --parts {" ".join(there)}.' if there else '.')
        )
    return [part for part in there if not parts or part in parts]


def _picture(out: str | None, cfg: Config) -> Path:
    """Where pictures go: a file of a suffix that can be written, or a folder."""
    path = Path(out) if out else Path(cfg.work_dir) / 'check_dataset.png'
    if path.is_dir() or path.suffix.lower() in PICTURES:
        return path
    if path.suffix or path.exists():
        raise UserError(
            f'--out {out} is neither a folder nor the name of a picture: let it end in '
            f'{", ".join(PICTURES)}, or name a folder.'
        )
    return path


def _distinct(run: PlannedRun) -> dict[str, PlannedDataset]:
    """Short name to data set; parts that read the same one, as val and test do, are joined."""
    names: dict[str, list[str]] = {}
    found = {}
    for data in run.datasets():
        part, *keys = data.key.replace('_dataloader', '').split('.')
        name = ' '.join([part, *(key for key in keys if key.isdigit())])
        identity = repr({key: value for key, value in data.cfg.items() if key != 'pipeline'})
        names.setdefault(identity, []).append(name)
        found.setdefault(identity, data)
    return {', '.join(names[identity]): data for identity, data in found.items()}


def _load(run: PlannedRun, name: str, data: PlannedDataset) -> LoadedDataset | None:
    """What keeps a data set from being loaded is a mistake, if none is known to explain it."""
    try:
        if issubclass(data.cls, BaseDataset):
            return LoadedDataset(data)
        run.note(f'{data.key} is no BaseDataset of mmengine: it is not counted or drawn.')
    # Whatever one class of data sets raises, the others are looked at.
    except Exception as error:
        what = f'the data set {name} cannot be loaded ({error_line(error)})'
        if run.errors:
            run.note(f'{what}, so it is not counted or drawn: correct the mistakes first.')
        else:
            run.refuse(f'{what}: correct {data.key}, or the files that it names.')
    return None


def _sample(
    run: PlannedRun, name: str, loaded: LoadedDataset, num: int, seed: int
) -> list[LabeledImage]:
    number = loaded.usage.images
    chosen = np.random.default_rng(seed).permutation(number)[:num]
    images = []
    for index in tqdm(chosen, f'reading {name}', unit='image', disable=None, delay=2):
        try:
            images.append(loaded.image(int(index)).shrunk())
        except UserError as error:  # an image that does not load, which names itself
            run.refuse(str(error))
        except KeyError as error:
            run.note(f'images of {name} are not drawn, since its items have no {error}.')
            break
    return images


def _usage_table(usages: Mapping[str, Usage], boxes: Mapping[str, int | None]) -> str:
    rows = [['data set', 'images', 'of them used', 'boxes', 'of them used', 'ignored']]
    for name, usage in usages.items():
        numbers = [usage.images_given, usage.images]
        if usage.detection:
            numbers += [boxes[name], sum(usage.labels.values()), usage.ignored]
        texts = ['' if number is None else f'{number:,}' for number in numbers]
        rows.append([name, *texts, *[''] * (5 - len(texts))])
    return markdown_table(rows)


def _class_table(usages: Mapping[str, Usage]) -> str:
    """Class by class the boxes, or images, of each data set; classes that one lacks are blank."""
    counts = {
        name: {label: usage.labels[i] for i, label in enumerate(usage.classes)}
        for name, usage in usages.items()
    }
    classes = list(dict.fromkeys(label for by_class in counts.values() for label in by_class))
    first = next(iter(counts.values()))
    shown = classes
    if len(classes) > MANY_CLASSES:
        shown = sorted(classes, key=lambda label: first.get(label, 0))[:MANY_CLASSES]
    rows = [['class', *counts]]
    rows += [
        [str(label), *(f'{c[label]:,}' if label in c else '' for c in counts.values())]
        for label in shown
    ]
    more = len(classes) - len(shown)
    end = f'\n{more} classes with more are not listed.' if more else ''
    return markdown_table(rows) + end


def _write(
    sheets: Mapping[str, Sequence[LabeledImage]], usages: Mapping[str, Usage], picture: Path
) -> Iterator[Path]:
    """Draw all in one picture, or each in one of a folder; yields the files."""
    drawn = {
        name: {f'{name}: {len(images)} of {usages[name].images:,} images': images}
        for name, images in sheets.items()
        if images
    }
    if picture.suffix.lower() not in PICTURES:
        files = {
            picture / f'{re.sub("[, ]+", "_", name)}.png': part for name, part in drawn.items()
        }
    elif drawn:
        files = {picture: {key: images for part in drawn.values() for key, images in part.items()}}
    else:
        files = {}
    for file, parts in files.items():
        draw_labeled_images(parts, file)
        yield file
