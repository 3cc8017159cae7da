"""Watching scale and shift while a model trains: scalars for each layer, a warning on collapse."""

from __future__ import annotations

import logging
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...layers.dynamic_norm import DynamicNorm
from ...layers.inspect import record_affine, summarize_affine

__all__ = ['AffineHook', 'warn_of_alpha']

# Name of a scalar to its field of AffineSummary.
QUANTITIES = {
    'alpha_mean': 'alpha_mean',
    'alpha_spread': 'alpha_spread',
    'lambda_mean': 'lambda_mean',
    'lambda_spread': 'lambda_spread',
    'dead_units': 'dead',
    'saturated_units': 'saturated',
}


def warn_of_alpha(runner: Runner) -> None:
    """Have a run of a model with dynamic norms warn when an alpha collapses or runs away.

    Args:
        runner (Runner): Where it has an :class:`AffineHook` already, that one does.
    """
    watched = any(isinstance(hook, AffineHook) for hook in runner.hooks)
    if not watched and any(isinstance(m, DynamicNorm) for m in runner.model.modules()):
        runner.register_hook(AffineHook(write=False))


@HOOKS.register_module()
class AffineHook(Hook):
    """Write alpha and lambda of the norm layers to the visualizer, and warn when alpha collapses.

    Every ``interval`` iterations, for each norm layer: ``affine_alpha_mean/<layer>``,
    ``affine_alpha_spread/``, ``affine_lambda_mean/``, ``affine_lambda_spread/`` and, with an
    SC-Module, ``affine_dead_units/`` and ``affine_saturated_units/`` (see
    ``dn_mmdet.layers.inspect.AffineSummary``) go to all backends of the visualizer. With
    ``TensorboardVisBackend`` among them, TensorBoard has a group of charts for each quantity, and
    under "Custom scalars" one chart of each with a line for every layer. In a distributed run they
    are those of the first process's batch. Nothing is kept on the modules.

    Args:
        interval (int): Iterations between two looks. Defaults to 100.
        threshold (float): A layer whose mean absolute alpha is below this in its largest channel
            has collapsed: it outputs almost no signal. Each layer is warned of once. Defaults to
            1e-3.
        ceiling (float): A layer whose mean absolute alpha is above this in its largest channel has
            run away: a few of them in a row are more than float16 holds. Defaults to 100.
        write (bool): Whether to write, or only to warn. Defaults to True.

    Raises:
        ValueError: ``interval`` is below 1.
    """

    priority = 'BELOW_NORMAL'

    def __init__(
        self,
        interval: int = 100,
        threshold: float = 1e-3,
        ceiling: float = 100.0,
        write: bool = True,
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be 1 or more, but got {interval}')
        self.interval = interval
        self.threshold, self.ceiling = threshold, ceiling
        self.write = write
        self._recording = None
        self._warned = set()

    def before_train(self, runner: Runner) -> None:
        """Where TensorBoard is among the backends: a chart for each quantity, a line a layer."""
        board = runner.visualizer.get_backend('TensorboardVisBackend')
        if self.write and board is not None and is_main_process():
            board.experiment.add_custom_scalars(
                {'affine': {name: ['Multiline', [f'affine_{name}/.*']] for name in QUANTITIES}}
            )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Begin to look, in the iterations that are looked at."""
        if self.every_n_train_iters(runner, self.interval):
            model = runner.model.module if is_model_wrapper(runner.model) else runner.model
            self._recording = record_affine(model)
            self._records = self._recording.__enter__()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Write, warn, and forget."""
        if self._recording is None:
            return
        self._recording.__exit__(None, None, None)
        self._recording, records, self._records = None, self._records, None
        scalars = {}
        for layer, entries in records.items():
            if not entries:
                continue
            summary = summarize_affine(entries)
            # TensorBoard groups by what stands before the first slash.
            scalars.update(
                {
                    f'affine_{name}/{layer}': getattr(summary, field)
                    for name, field in QUANTITIES.items()
                    if summary.units or not name.endswith('_units')
                }
            )
            if layer not in self._warned and (fault := self._fault(summary.alpha_max)):
                self._warned.add(layer)
                print_log(
                    f'alpha of {layer} has {fault} at iteration {runner.iter + 1}. Lower the '
                    "learning rate, or begin with start='identity'.",
                    'current',
                    logging.WARNING,
                )
        if self.write:
            runner.visualizer.add_scalars(scalars, step=runner.iter + 1)

    def after_train(self, runner: Runner) -> None:
        """Take the hooks off where a run ended in the middle of an iteration."""
        if self._recording is not None:
            self._recording.__exit__(None, None, None)
            self._recording = None

    def _fault(self, largest: float) -> str | None:
        """What is wrong with a layer, of the mean absolute alpha in its largest channel."""
        if largest < self.threshold:
            return (
                f'collapsed: no channel has a mean above {self.threshold:g}, so the layer outputs '
                'almost no signal'
            )
        if not largest <= self.ceiling:
            return (
                f'run away: a channel has a mean of {largest:.3g}, above {self.ceiling:g}, so the '
                'maps behind the layer soon cease to be finite'
            )
        return None
