"""Watching scale and shift while a model trains: scalars for each layer, a warning on collapse."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS

__all__ = ['AffineHook']


@HOOKS.register_module()
class AffineHook(Hook):
    """Write alpha and lambda of the norm layers to the visualizer, and warn when alpha collapses.

    Every ``interval`` iterations, for each norm layer: ``affine/<layer>/alpha_mean``,
    ``alpha_spread``, ``lambda_mean``, ``lambda_spread`` and, with an SC-Module, ``dead_units`` and
    ``saturated_units`` (see :class:`dn_mmdet.analysis.affine.AffineSummary`) go to all backends of
    the visualizer: a curve for each layer in TensorBoard with
    ``visualizer.vis_backends`` of ``TensorboardVisBackend``. In a distributed run they are those of
    the first process's batch. Nothing is kept on the modules.

    Args:
        interval (int): iterations between two looks. Default: 100.
        threshold (float): a layer whose mean absolute alpha is below this in its largest channel
            has collapsed: it passes nothing on. Each layer is warned of once. Default: 1e-3.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval=100, threshold=1e-3):
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, but got {interval}')
        self.interval = interval
        self.threshold = threshold
        self._recording = None
        self._warned = set()

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        """Begin to look, in the iterations that are looked at."""
        # Imported late: the analysis room stands on this one.
        from ..analysis.affine import record_affine

        if self.every_n_train_iters(runner, self.interval):
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            self._recording = record_affine(model)
            self._records = self._recording.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        """Write, warn, and forget."""
        from ..analysis.affine import summarise_affine

        if self._recording is None:
            return
        self._recording.__exit__(None, None, None)
        self._recording, records, self._records = None, self._records, None
        scalars = {}
        for layer, entries in records.items():
            if not entries:
                continue
            summary = summarise_affine(entries)
            scalars.update({f'affine/{layer}/{name}': value for name, value in (
                ('alpha_mean', summary.alpha_mean), ('alpha_spread', summary.alpha_spread),
                ('lambda_mean', summary.lambda_mean), ('lambda_spread', summary.lambda_spread))})
            if summary.units:
                scalars[f'affine/{layer}/dead_units'] = summary.dead
                scalars[f'affine/{layer}/saturated_units'] = summary.saturated
            if summary.alpha_max < self.threshold and layer not in self._warned:
                self._warned.add(layer)
                print_log(
                    f'alpha of {layer} has collapsed: no channel has a mean above '
                    f'{self.threshold:g} at iteration {runner.iter + 1}, so that the layer passes '
                    "nothing on. Lower the learning rate, or begin with start='identity'.",
                    'current', logging.WARNING)
        runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner) -> None:
        """Take the hooks off where a run ended in the middle of an iteration."""
        if self._recording is not None:
            self._recording.__exit__(None, None, None)
            self._recording = None
