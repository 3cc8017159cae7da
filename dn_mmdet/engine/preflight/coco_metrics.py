"""Checking that COCO metrics are taken with the true boxes of the images that are evaluated."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.registry import TRANSFORMS

from ...datasets.files.coco_boxes import judge_boxes
from ...utils.errors import UserError
from ...utils.text import first_few
from .categories import check_categories
from .coco import annotation_path, is_coco_metric
from .planned import PlannedDataset, PlannedRun
from .registries import find_type

__all__ = ['check_coco_metrics']

# The COCO file of a data set, and what it holds.
File = tuple[str, Mapping[str, Any]]


def check_coco_metrics(run: PlannedRun) -> None:
    """Check every CocoMetric: its ``ann_file``, and that there is what it needs.

    Raises:
        UserError: The file is missing or not a COCO annotation file, does not list the images
            of the data sets, or lists others; images of several data sets have the same ids; or
            there are no true boxes or segmentations.
    """
    for key, metric, cls, datasets in run.metrics():
        if not is_coco_metric(cls):
            continue
        with run.going_on():
            files = [file for data in datasets if (file := _file(run, data))]
            _check_ids(key, files)
            truth = files
            if metric.get('format_only', False):
                continue
            if metric.get('ann_file') is None:
                _check_instances(key, datasets)
            elif metric.get('backend_args'):
                continue
            else:
                truth = [_check_file(run, key, metric['ann_file'], datasets, files)]
            kinds = metric.get('metric', 'bbox')
            if 'segm' in ([kinds] if isinstance(kinds, str) else kinds):
                _check_masks(run, key, truth)


def _file(run: PlannedRun, data: PlannedDataset) -> File | None:
    """None where there is no COCO file, or where its own check has refused it."""
    path = annotation_path(data)
    if path is None or not os.path.isfile(path):
        return None
    content, problems = run.files.judged_annotations(path, f'{data.key}.ann_file', data.labels)
    return None if problems else (path, content)


def _check_ids(key: str, files: Sequence[File]) -> None:
    """Predictions are told apart by the id of their image alone."""
    counts = Counter(image['id'] for _, content in files for image in content['images'])
    shared = [number for number, count in counts.items() if count > 1]
    if shared:
        paths = dict.fromkeys(path for path, _ in files)
        raise UserError(
            f'{key} is taken on {len(files)} data sets together ({first_few(paths)}), in which '
            f'{len(shared)} image ids occur more than once ({first_few(map(repr, shared))}), so '
            'predictions cannot be told apart: number the images through, or evaluate each data '
            'set by a metric of its own (type=MultiDatasetsEvaluator).'
        )


def _check_instances(key: str, datasets: Sequence[PlannedDataset]) -> None:
    """Without an ann_file the true boxes come with the samples."""
    for data in datasets:
        steps = data.cfg.get('pipeline') or [{}]
        last = steps[-1] if isinstance(steps[-1], Mapping) else {}
        packs = getattr(find_type(TRANSFORMS, last.get('type')), '__name__', '') == 'PackDetInputs'
        if packs and 'instances' not in last.get('meta_keys', ()):
            raise UserError(
                f'{key} has no ann_file, so it needs the true boxes with each image: give it the '
                f"ann_file of the data set, or add 'instances' to meta_keys of PackDetInputs in "
                f'{data.key}.pipeline.'
            )


def _check_file(
    run: PlannedRun, key: str, path: Any, datasets: Sequence[PlannedDataset], files: Sequence[File]
) -> File:
    if not isinstance(path, str):
        raise UserError(f'{key}.ann_file is {path!r}: write one path, as a text.')
    content, problems = run.files.judged_annotations(path, f'{key}.ann_file', evaluated=True)
    for _, sentence in problems:
        run.refuse(sentence)
    if problems:
        raise UserError(problems[0][1])
    own = {os.path.realpath(file) for file, _ in files}
    for file, inner in files:
        if os.path.realpath(file) != os.path.realpath(path):
            _check_same_images(key, path, content, file, inner)
    partly = [data.key for data in datasets if data.cfg.get('indices') is not None]
    if partly:
        run.note(
            f'{partly[0]}.indices leaves out images of {path}, whose boxes count as missed in '
            f'{key}.'
        )
    if os.path.realpath(path) in own and len(own) == 1:
        return path, content
    classes = next((run.contents[d.key].classes for d in datasets if d.key in run.contents), None)
    if classes is None:
        return path, content
    if files and len(files) == len(datasets):
        _check_no_others(key, path, content, files, classes)
    if os.path.realpath(path) not in own:
        check_categories(run, datasets[0].key, classes, content, path, complete=False)
        boxes = judge_boxes(content, path, classes, 'evaluation', coco_eval=True)
        for sentence in boxes.errors():
            run.refuse(sentence)
        if boxes.used:
            for sentence in (*boxes.parts_lost(), *boxes.notes):
                run.note(sentence)
    return path, content


def _check_same_images(
    key: str, path: str, content: Mapping[str, Any], file: str, inner: Mapping[str, Any]
) -> None:
    known = {image['id']: os.path.basename(image['file_name']) for image in content['images']}
    images = inner['images']
    unknown = [image['file_name'] for image in images if image['id'] not in known]
    start = f'{key}.ann_file is {path}, but the images to evaluate come from {file}, and '
    if unknown:
        raise UserError(
            f'{start}{len(unknown)} of them are not in it ({first_few(unknown)}): give '
            'both the same file.'
        )
    others = [i for i in images if known[i['id']] != os.path.basename(i['file_name'])]
    if others:
        first = others[0]
        raise UserError(
            f'{start}{len(others)} of them have the id of another image there (the first is '
            f'{first["id"]!r}, {first["file_name"]!r} against {known[first["id"]]!r}): give both '
            'the same file.'
        )


def _check_no_others(
    key: str,
    path: str,
    content: Mapping[str, Any],
    files: Sequence[File],
    classes: Sequence[str],
) -> None:
    """COCOeval counts the boxes of all images of its file."""
    evaluated = {image['id'] for _, inner in files for image in inner['images']}
    ids = {c['id'] for c in content['categories'] if c['name'] in classes}
    others = {
        a['image_id']
        for a in content['annotations']
        if a['image_id'] not in evaluated and a['category_id'] in ids and not a['iscrowd']
    }
    if others:
        raise UserError(
            f'{key}.ann_file is {path}, and {len(others)} of its images that have boxes are not in '
            f'{first_few(dict.fromkeys(file for file, _ in files))}, so they would count as '
            'missed: give both the same images.'
        )


def _check_masks(run: PlannedRun, key: str, truth: Sequence[File]) -> None:
    for path, content in truth:
        annotations = content.get('annotations') or ()
        lacking = [a for a in annotations if not a.get('segmentation')]
        if lacking:
            raise UserError(
                f"{key}.metric has 'segm', but {len(lacking)} of the {len(annotations)} "
                f'annotations in {path} have no segmentation (the first has id '
                f"{lacking[0]['id']!r}): evaluate boxes with metric='bbox'."
            )
    if run.cfg.get('model') is None:
        return
    names = (f'{name} {type(module).__name__}' for name, module in run.model.named_modules())
    if not any(word in name for name in names for word in ('mask', 'Mask', 'Ins', 'Seg')):
        raise UserError(
            f"{key}.metric has 'segm', but the model predicts no masks: evaluate boxes with "
            "metric='bbox'."
        )
