"""From a run's prediction file to results by image, or the reason why it cannot be used."""

from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from mmengine.registry import DATASETS, DefaultScope

from ..analysis.prediction_file import read_predictions
from ..engine.config import load_config
from ..engine.errors import UserError
from .image_results import ImageResults
from .read_classes import read_classes, top_k
from .read_detections import coco_part, read_detections
from .runs import Run

__all__ = ['PREDICTIONS', 'TOLERANCE', 'can_read', 'prediction_file', 'read_results']

# What --test writes, and what is looked for first.
PREDICTIONS = 'predictions.pkl'
# How far the metric of the predictions may lie from that in the log, as a share: another device
# or batch size moves it less, another checkpoint or other data mostly more.
TOLERANCE = 0.005


def can_read(metric: str) -> bool:
    """Whether a metric can be taken from predictions: COCO's box mAP, or accuracy."""
    return coco_part(metric) is not None or top_k(metric) is not None


def prediction_file(run: Run) -> Path | None:
    """``predictions.pkl`` of a run's work folder, else the newest pickle there, else None."""
    named = Path(run.work_dir, PREDICTIONS)
    found = (
        [named]
        if named.is_file()
        else [
            path
            for path in Path(run.work_dir).iterdir()
            if path.suffix in ('.pkl', '.pickle') and path.is_file()
        ]
    )
    return max(found, key=lambda path: (path.stat().st_mtime, path.name), default=None)


def read_results(run: Run, file: Path, metric: str, opened: dict | None = None) -> ImageResults:
    """Predictions of a run, checked against the data and the log of the run.

    Args:
        run (Run): finished.
        file (Path): of ``tools/test.py --out``.
        metric (str): for which :func:`can_read` holds.
        opened (dict, optional): where data sets are kept for runs that share them. Default: none.

    Raises:
        UserError: the file cannot be read, is of other images, classes or another checkpoint, or
            the run's val data are not here.
    """
    predictions = read_predictions(file)
    dataset, evaluator = _open_data(run, {} if opened is None else opened)
    k = top_k(metric)
    results = (
        read_detections(file, predictions, dataset, evaluator, metric)
        if k is None
        else read_classes(file, predictions, dataset, k)
    )
    logged, found = run.value(metric), results.value()
    scale = 1 if k is None else 100
    if not abs(found - logged) <= TOLERANCE * scale:  # NaN is not within it either
        raise UserError(
            f'{file} gives {metric} {found:.4g}, but the log of {run.work_dir} ends with '
            f'{logged:.4g}: it is of another checkpoint or other data. Make it again from the last '
            'checkpoint with --test.'
        )
    return results


def _open_data(run, opened):
    config = load_config(str(run.config_file))
    key = str((config.val_dataloader.dataset, config.get('val_evaluator')))
    if key not in opened:
        opened[key] = _build(run, config), config.get('val_evaluator')
    return opened[key]


def _build(run, config):
    try:
        # Data sets and pycocotools tell that they load.
        with (
            DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmengine')),
            redirect_stdout(StringIO()),
        ):
            dataset = DATASETS.build(config.val_dataloader.dataset)
            dataset.full_init()
    except Exception as error:  # a data set is a class of any package
        raise UserError(
            f'the val data of {run.work_dir} cannot be opened here '
            f'({" ".join(str(error).split())[:300]}).'
        ) from error
    return dataset
