"""Testing from a configuration file: what tools/test.py does."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from inspect import signature
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.evaluator import DumpResults
from mmengine.registry import HOOKS, MODELS, TRANSFORMS
from mmengine.runner import Runner

from ..utils.errors import UserError
from ..utils.files import check_output_file
from .config import load_config
from .preflight import PlannedRun, run_preflight
from .preflight.registries import config_scope, find_type
from .run import build_runner, prepare_process
from .run_errors import as_user_errors

__all__ = ['load_test_config', 'metrics_of_test', 'test']


def test(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
    tta: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint; configuration, checkpoint and data are checked first.

    Args:
        config (str): The configuration file.
        checkpoint (str): Must provide every weight of the model.
        work_dir (str, optional): Where logs and metrics go. Defaults to that of :func:`train`.
        out (str, optional): File ending in .pkl that the predictions are written to.
        show (bool): Show predictions in a window. Defaults to False.
        show_dir (str, optional): Folder for images with drawn predictions, made in
            ``<work_dir>/<time>/``, as in mmdet.
        wait_time (float): Seconds that an image is shown. Defaults to 2.
        cfg_options (Mapping, optional): Overrides, dotted key to value.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'. Defaults to 'none'.
        tta (bool): Test-time augmentation: ``tta_model`` and ``tta_pipeline`` of the
            configuration, for a detector by default the image and its mirror image. Defaults to
            False.

    Returns:
        dict[str, float]: The metrics.

    Raises:
        UserError: A mistake in configuration, data or checkpoint.
    """
    if out is not None and not out.endswith(('.pkl', '.pickle')):
        raise UserError(f'--out {out} must end in .pkl or .pickle: predictions are pickled.')
    if out is not None:
        check_output_file(out, '--out')
    cfg = load_test_config(config, checkpoint, work_dir, cfg_options, launcher)
    if show or show_dir:
        _visualize(cfg, show, show_dir, wait_time)
    notes = run_preflight(cfg, 'test')
    if tta:
        _use_tta(cfg)
    with as_user_errors(cfg):
        runner = build_runner(cfg, notes)
        if out is not None:
            runner.test_evaluator.metrics.append(_dump(cfg, out))
        return runner.test()


def metrics_of_test(
    runner: Runner, checkpoint: str, before: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Test a model, where nothing detected is a result too: mmdet has no metric of it.

    Args:
        runner (Runner): Of the test.
        checkpoint (str): The weights, for the message.
        before (Mapping[str, float], optional): Metrics of an earlier test of the same model. Where
            nothing is detected now, each is 0 (COCO's -1, of boxes that there are not, stays).

    Returns:
        dict[str, float]: Metric to value.

    Raises:
        UserError: Nothing is detected, and there was no earlier test.
    """
    found = runner.test()
    if not found and before is None:
        raise UserError(
            f'{checkpoint} detects nothing at all on the test images, so there is nothing to '
            'compare: give weights that were trained, or a lower model.test_cfg.score_thr.'
        )
    return found or {name: min(value, 0.0) for name, value in before.items()}


def load_test_config(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    cfg_options: Mapping[str, Any] | None = None,
    launcher: str = 'none',
) -> Config:
    """Load the configuration of a test, and make this process ready for it.

    Args:
        config (str): As in :func:`test`.
        checkpoint (str): Goes to ``load_from``; it is not read yet.
        work_dir (str, optional): As in :func:`test`.
        cfg_options (Mapping, optional): As in :func:`test`.
        launcher (str): As in :func:`test`. Defaults to 'none'.

    Returns:
        Config: As the Runner takes it.

    Raises:
        UserError: The configuration is missing or wrong.
    """
    prepare_process()
    cfg = load_config(config, cfg_options, work_dir, launcher)
    cfg.load_from, cfg.resume = checkpoint, False
    return cfg


def _visualize(cfg: Config, show: bool, show_dir: str | None, wait_time: float) -> None:
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if not isinstance(hook, Mapping):
        raise UserError(
            f'--show and --show-dir need default_hooks.visualization in {cfg.filename}'
            ", for a detector visualization=dict(type='DetVisualizationHook')."
        )
    with config_scope(cfg):
        cls = find_type(HOOKS, hook.get('type'))
    # mmdet and mmpretrain have two names for the same switch.
    enable = isinstance(cls, type) and 'enable' in signature(cls).parameters
    hook['enable' if enable else 'draw'] = True
    if show:
        hook.update(show=True, wait_time=wait_time)
    if show_dir:
        hook['test_out_dir'] = show_dir


def _mmdet_bases(cfg: Config) -> set[str]:
    """Names of the classes of mmdet that the model of a configuration is made from."""
    with config_scope(cfg):
        cls = find_type(MODELS, cfg.model.get('type'))
    bases = getattr(cls, '__mro__', ())
    return {base.__name__ for base in bases if base.__module__.partition('.')[0] == 'mmdet'}


def _dump(cfg: Config, out: str) -> DumpResults:
    if not _mmdet_bases(cfg):
        return DumpResults(out_file_path=out)
    from mmdet.evaluation import DumpDetResults

    return DumpDetResults(out_file_path=out)


def _use_tta(cfg: Config) -> None:
    detector = 'BaseDetector' in _mmdet_bases(cfg)
    if cfg.get('tta_model') is None:
        if not detector:
            raise UserError(f'--tta needs tta_model and tta_pipeline in {cfg.filename}.')
        cfg.tta_model = {
            'type': 'DetTTAModel',
            'tta_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 100},
        }
    datasets = [data.cfg for data in PlannedRun(cfg, 'test').datasets()]
    if cfg.get('tta_pipeline') is None:
        pipeline = deepcopy(datasets[0].get('pipeline') or [])
        with config_scope(cfg):
            last = find_type(TRANSFORMS, pipeline[-1].get('type')) if pipeline else None
        if not detector or getattr(last, '__name__', '') != 'PackDetInputs':
            raise UserError(
                f'--tta needs tta_pipeline in {cfg.filename}, since the test pipeline does not '
                'end with PackDetInputs.'
            )
        meta = (
            'img_id',
            'img_path',
            'ori_shape',
            'img_shape',
            'scale_factor',
            'flip',
            'flip_direction',
        )
        flips = [{'type': 'mmdet.RandomFlip', 'prob': prob} for prob in (1.0, 0.0)]
        pack = {'type': 'mmdet.PackDetInputs', 'meta_keys': meta}
        pipeline[-1] = {'type': 'TestTimeAug', 'transforms': [flips, [pack]]}
        cfg.tta_pipeline = pipeline
    model, cfg.model = cfg.model, ConfigDict(cfg.tta_model)
    cfg.model.module = model
    for dataset in datasets:
        dataset['pipeline'] = cfg.tta_pipeline
