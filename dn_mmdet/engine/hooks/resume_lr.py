"""A resumed run takes the learning rate of its configuration, not that of the checkpoint."""

from collections.abc import Mapping, Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...utils.python39 import zip_strict

__all__ = ['ResumeLRHook']


@HOOKS.register_module()
class ResumeLRHook(Hook):
    """Let a run resume with another learning rate.

    mmengine restores the learning rate with the state of the optimizer and of the schedulers, so
    another ``optim_wrapper.optimizer.lr``, as after a run that diverged, would silently have no
    effect. Here the rate of the configuration, before any schedule and after
    ``--auto-scale-lr``, replaces that of the checkpoint in every parameter group, and the schedule
    continues from where it was in proportion. The same rate changes nothing.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Change the state in a checkpoint that is resumed, before the optimizer takes it over."""
        state = checkpoint.get('optimizer')
        if not runner._resume or not isinstance(state, Mapping) or 'param_groups' not in state:
            return
        # As OptimWrapper.param_groups: the settings without parameters of their own are the last.
        given = [*state['param_groups'], *filter(None, [state.get('base_param_settings')])]
        wanted = runner.optim_wrapper.param_groups
        if len(given) != len(wanted):
            return  # mmengine has its own words for it
        old = [group.get('initial_lr', group['lr']) for group in given]
        new = [group.get('initial_lr', group['lr']) for group in wanted]
        if old == new:
            return
        factors = [b / a if a else 1.0 for a, b in zip_strict(old, new)]
        for group, own, factor in zip_strict(given, wanted, factors):
            group['lr'] *= factor
            # Schedulers keep what they count from in the group: initial_lr, max_lr, min_lr.
            group.update({key: own[key] for key in group if key.endswith('_lr') and key in own})
        for scheduler in checkpoint.get('param_schedulers') or []:
            _scale(scheduler, new, factors)
        runner.logger.warning(
            f'The run continues at the learning rate of its configuration, {new[0]:g}, instead of '
            f'{old[0]:g} in the checkpoint; the schedule is scaled in proportion.'
        )


def _scale(scheduler: dict, new: Sequence[float], factors: Sequence[float]) -> None:
    if scheduler.get('param_name') != 'lr' or len(scheduler.get('base_values', ())) != len(new):
        return
    scheduler['base_values'] = list(new)
    if '_last_value' in scheduler:
        scheduler['_last_value'] = [
            value * factor for value, factor in zip_strict(scheduler['_last_value'], factors)
        ]
