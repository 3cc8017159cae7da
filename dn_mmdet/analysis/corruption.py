"""How well a model stands corrupted images: the benchmark of Michaelis et al. 2019."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import cv2
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine.config import Config

from ..engine.preflight import PlannedRun, run_preflight
from ..engine.preflight.registries import config_scope
from ..engine.run import build_runner
from ..engine.run_errors import as_user_errors
from ..engine.test import load_test_config, metrics_of_test
from ..utils.errors import UserError
from ..utils.files import atomic_write, check_output_file, check_output_folder, write_json
from ..utils.python39 import zip_strict
from ..utils.text import markdown_table

__all__ = [
    'KINDS',
    'PHOTOMETRIC',
    'SEVERITIES',
    'Corrupted',
    'SeededCorrupt',
    'check_corruptions',
    'measure_corrupted',
]

# Those that change the values of pixels, not where things are: what a scale for each image meets.
PHOTOMETRIC = ('gaussian_noise', 'shot_noise', 'brightness', 'contrast', 'saturate', 'fog')
# All that numpy's seed repeats; impulse_noise and glass_blur draw from generators of their own.
KINDS = (
    *PHOTOMETRIC,
    'speckle_noise',
    'defocus_blur',
    'motion_blur',
    'zoom_blur',
    'gaussian_blur',
    'snow',
    'frost',
    'spatter',
    'elastic_transform',
    'pixelate',
    'jpeg_compression',
)
SEVERITIES = (1, 3, 5)

# What the table by kinds is of.
PREFERRED = ('coco/bbox_mAP', 'accuracy/top1')

Metrics = dict[str, float]


@dataclass(frozen=True)
class Corrupted:
    """Metrics of a checkpoint on images as they are, and corrupted.

    Attributes:
        clean (dict[str, float]): On images as they are (P).
        corrupted (dict[str, dict[str, dict[str, float]]]): Kind, then severity as a text, to
            metrics.
    """

    clean: Metrics
    corrupted: dict[str, dict[str, Metrics]]

    def of_kind(self, kind: str, metric: str) -> float:
        """Mean of a metric over the severities of a kind."""
        return mean(found[metric] for found in self.corrupted[kind].values())

    def under_corruption(self, metric: str) -> float:
        """Mean performance under corruption (mPC): over kinds and severities."""
        return mean(self.of_kind(kind, metric) for kind in self.corrupted)

    def relative(self, metric: str) -> float:
        """Relative performance under corruption (rPC): mPC over P, NaN where P is not above 0."""
        clean = self.clean[metric]
        return self.under_corruption(metric) / clean if clean > 0 else float('nan')


def measure_corrupted(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    kinds: Sequence[str] = PHOTOMETRIC,
    severities: Sequence[int] = SEVERITIES,
    cache: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
) -> Corrupted:
    """Test a checkpoint on its test images, then on the same images corrupted.

    Images are corrupted as they were loaded, before anything else is done to them, as in mmdet's
    own ``test_robustness.py``. What is random in a corruption follows from the image, the kind and
    the severity: all models see the same.

    Args:
        config (str): Configuration file.
        checkpoint (str): Its weights.
        work_dir (str, optional): Where logs go, as in :func:`dn_mmdet.engine.test`.
        out (str, optional): JSON file for all metrics.
        kinds (Sequence[str]): Some of :data:`dn_mmdet.analysis.corruption.KINDS`. Defaults to the
            six photometric ones.
        severities (Sequence[int]): From 1 to 5. Defaults to (1, 3, 5).
        cache (str, optional): Folder that keeps corrupted images for further checkpoints, as PNG:
            about 0.5 MB for each photograph of 640x480 pixels, kind and severity. Defaults to
            none.
        cfg_options (Mapping, optional): Overrides, dotted key to value.

    Returns:
        Corrupted: The metrics, of which a summary is printed.

    Raises:
        UserError: A mistake in configuration, data or checkpoint, ``imagecorruptions`` is not
            installed, or there is no such kind or severity.
    """
    check_corruptions(kinds, severities)
    if out is not None:
        check_output_file(out, '--out')
    if cache is not None:
        check_output_folder(cache, '--cache')
    cfg = load_test_config(config, checkpoint, work_dir, cfg_options)
    notes = run_preflight(cfg, 'test')
    places = list(product(kinds, severities))
    loaders = [_corrupted_loader(cfg, *place, cache) for place in places]
    with as_user_errors(cfg):
        runner = build_runner(cfg, notes)
        found = Corrupted(metrics_of_test(runner, checkpoint), {kind: {} for kind in kinds})
        for number, ((kind, severity), loader) in enumerate(zip_strict(places, loaders), 1):
            print(f'{kind}, severity {severity} ({number} of {len(places)})', flush=True)
            runner.test_loop.dataloader = runner.build_dataloader(loader)
            found.corrupted[kind][str(severity)] = metrics_of_test(runner, checkpoint, found.clean)
    if out is not None:
        write_json(out, vars(found))
    print(f'\n{_table(found)}')
    return found


def check_corruptions(
    kinds: Sequence[str] = PHOTOMETRIC, severities: Sequence[int] = SEVERITIES
) -> None:
    """Check that images can be corrupted so.

    Args:
        kinds (Sequence[str]): Names of corruptions. Defaults to the six photometric ones.
        severities (Sequence[int]): How strong. Defaults to (1, 3, 5).

    Raises:
        UserError: ``imagecorruptions`` is not installed, or a kind or severity is not known.
    """
    for what, given, known in (
        ('kind', kinds, KINDS),
        ('severity', severities, (1, 2, 3, 4, 5)),
    ):
        if not given or len(set(given)) < len(given):
            raise UserError(f'give each {what} of corruption once, and one at least: {given!r}.')
        for name in given:
            if name not in known:
                raise UserError(
                    f'{name!r} is no {what} of corruption that can be repeated: choose from '
                    f'{", ".join(map(str, known))}.'
                )
    if find_spec('imagecorruptions') is None:
        raise UserError(
            'corrupting images needs the package imagecorruptions, which is not installed: run '
            '`pip install imagecorruptions-imaug` in this environment.'
        )


class SeededCorrupt(BaseTransform):
    """mmdet's ``Corrupt``, which the fork no longer has, with always the same noise for one image.

    Required and modified key: ``img``, an array of shape (H, W, 3), of 8 bits in what comes out.

    Args:
        corruption (str): One of :data:`dn_mmdet.analysis.corruption.KINDS`.
        severity (int): From 1 to 5.
        cache (str, optional): Folder of corrupted images that were made before. Defaults to none.
    """

    def __init__(self, corruption: str, severity: int, cache: str | None = None):
        from imagecorruptions import corrupt

        self.corrupt, self.cache = corrupt, cache
        self.settings = dict(corruption_name=corruption, severity=severity)

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Corrupt ``results['img']``."""
        image = np.ascontiguousarray(results['img'], dtype=np.uint8)
        key = hashlib.blake2b(f'{self}'.encode() + image.tobytes(), digest_size=16)
        file = None if self.cache is None else Path(self.cache) / f'{key.hexdigest()}.png'
        if file is not None and file.is_file():
            results['img'] = cv2.imread(str(file))
            return results
        state = np.random.get_state()
        np.random.seed(int.from_bytes(key.digest()[:4], 'big'))
        try:
            results = dict(results, img=self.corrupt(image, **self.settings))
        finally:
            np.random.set_state(state)
        if file is not None:
            # Fast: noise does not get smaller anyway.
            _, encoded = cv2.imencode('.png', results['img'], [cv2.IMWRITE_PNG_COMPRESSION, 1])
            with atomic_write(file) as png:
                png.write(encoded.tobytes())
        return results

    def __repr__(self) -> str:
        # The noise follows from this text, so that it stays as it is.
        corruption, severity = self.settings.values()
        return f'Corrupt(corruption={corruption}, severity={severity})'


def _corrupted_loader(cfg: Config, kind: str, severity: int, cache: str | None) -> dict[str, Any]:
    """``test_dataloader`` with a corruption behind the loading of each image."""
    changed = deepcopy(cfg)
    step = dict(type=SeededCorrupt, corruption=kind, severity=severity, cache=cache)
    for data in PlannedRun(changed, 'test').datasets():
        with config_scope(cfg):
            places = [i for i, _, found in data.steps if issubclass(found, LoadImageFromFile)]
        if not places:
            raise UserError(
                f'{data.key}.pipeline in {cfg.filename} has no LoadImageFromFile, behind which '
                'the images could be corrupted: add one.'
            )
        data.cfg['pipeline'].insert(places[0] + 1, step)
    return changed.test_dataloader


def _table(found: Corrupted) -> str:
    metric = next((name for name in PREFERRED if name in found.clean), next(iter(found.clean)))
    severities = next(iter(found.corrupted.values()))
    kinds = [['corruption', *(f'severity {s}' for s in severities), f'mean {metric}']]
    kinds += [
        [
            kind,
            *(f'{values[metric]:.3f}' for values in by_severity.values()),
            f'{found.of_kind(kind, metric):.3f}',
        ]
        for kind, by_severity in found.corrupted.items()
    ]
    rows = [['metric', 'clean (P)', 'corrupted (mPC)', 'relative (rPC)']]
    rows += [
        [
            name,
            f'{value:.3f}',
            f'{found.under_corruption(name):.3f}',
            f'{found.relative(name):.1%}'.replace('nan%', '-'),
        ]
        for name, value in found.clean.items()
    ]
    return f'{markdown_table(kinds)}\n\n{markdown_table(rows)}'
