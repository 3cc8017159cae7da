"""Telling that a training run diverged: where, at which learning rate, and how to continue."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import AmpOptimWrapper, OptimWrapperDict
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.linalg import vector_norm
from torch.optim import Optimizer

from ...utils.errors import UserError
from ...utils.text import first_few
from ..distributed import any_process
from ..replay import seed_step

__all__ = [
    'DivergedError',
    'InvalidLossHook',
    'as_diverged_errors',
    'diverged',
    'non_finite_key',
    'trained_keys',
]


class DivergedError(UserError):
    """The loss or the weights of a training run are NaN or infinite.

    Args:
        message (str): As of :class:`UserError`.
        iteration (int): Iteration of the run, from 1, in which that was seen. Defaults to 0,
            unknown.
    """

    def __init__(self, message: str, iteration: int = 0) -> None:
        super().__init__(message)
        self.iteration = iteration


@HOOKS.register_module()
class InvalidLossHook(Hook):
    """Stop a run in the iteration whose loss or gradients are not finite, before its update.

    mmdet's ``CheckInvalidLossHook`` looks at every 50th iteration of one process. This one looks
    at every iteration: RuntimeInfoHook has fetched the losses from the device by then. In a
    distributed run all processes stop together, which costs them an all-reduce of one number in
    each iteration. Gradients are looked at where an optimizer is about to use them, so an infinite
    one that a dynamic loss scale makes and skips does not stop a run.

    Args:
        skip (int): How many iterations in a row are passed over, without an update and with a
            warning, before a run is stopped. Defaults to 0.

    Raises:
        DivergedError: With the iteration, the losses, the layer whose output was the first that is
            not finite (in a run of one process), the images, the learning rate, what to lower, and
            the checkpoint to continue from.
        ValueError: ``skip`` is below 0.
    """

    # Behind RuntimeInfoHook; before averages, logs and checkpoints take the iteration over.
    priority = 'HIGH'

    def __init__(self, skip: int = 0) -> None:
        if skip < 0:
            raise ValueError(f'skip must be 0 or more, but got {skip}')
        self.skip = skip
        self._skipped, self._gradient = 0, None

    def before_train(self, runner: Runner) -> None:
        """Have the optimizers ask before each update."""
        names = {parameter: name for name, parameter in _model(runner).named_parameters()}

        def look(optimizer: Optimizer) -> None:
            given = [
                parameter
                for group in optimizer.param_groups
                for parameter in group['params']
                if parameter.grad is not None
            ]
            bad = _not_finite([parameter.grad for parameter in given])
            if not bad:
                return
            # The backward pass goes through the model from its end.
            self._gradient = names.get(given[bad[-1]], 'a parameter')
            for parameter in given:
                parameter.grad = None  # optimizers then leave it as it is

        wrapper = runner.optim_wrapper
        for each in wrapper.values() if isinstance(wrapper, OptimWrapperDict) else [wrapper]:
            if isinstance(each.optimizer, Optimizer):  # DeepSpeed's are of another kind
                _call_before_steps(each.optimizer, look)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Mapping[str, Any] | None = None,
    ) -> None:
        """Look at every output that has 'loss' in its name, and at what the optimizers saw."""
        losses = {
            key: _value(runner, key, value)
            for key, value in (outputs or {}).items()
            if 'loss' in key
        }
        gradient, self._gradient = self._gradient, None
        what = None
        if not all(map(math.isfinite, losses.values())):
            what = _describe(losses)
        elif gradient is not None:
            what = f'the gradient of {gradient} is not finite'
        iteration = runner.iter + 1
        if what is not None:
            what = f'{what} at iteration {iteration} (epoch {runner.epoch + 1})'
            what += _images(data_batch)
        told = _first_told(what)
        if told is None:
            self._skipped = 0
            return
        self._skipped += 1
        if self._skipped <= self.skip and _non_finite_weights(runner) is None:
            runner.logger.warning(f'{told}: its update is passed over.')
            return
        if what is not None and (layer := _first_bad_layer(runner, data_batch)):
            told += f'; the first output that is not finite is that of {layer}'
        raise diverged(runner, told, iteration, updates=runner.iter)


@contextmanager
def as_diverged_errors(runner: Runner) -> Iterator[None]:
    """Wrap training: whatever a diverged model raises becomes a :class:`DivergedError`.

    Some models raise errors of their own once their weights are not finite: mmdet's PISA-SSD
    asserts that its scores are finite, DETR's matcher refuses NaN. The log file of the run gets
    the sentence too.

    Args:
        runner (Runner): Of the run.

    Raises:
        DivergedError: The weights are not finite, or the model says that a value is not.
    """
    try:
        yield
    except DivergedError as error:
        _write_to_log_file(runner, error)
        raise
    except (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError) as error:
        iteration, bad = 0, None
        with suppress(Exception):  # nothing can be computed after a failed assertion on a GPU
            iteration = runner.iter + 1
            bad = _non_finite_weights(runner)
        if bad is None and 'infinite or NaN' not in str(error):
            raise
        what = f'; {bad} holds NaN or infinite values' if bad else ''
        told = diverged(
            runner,
            f'the model failed at iteration {iteration} ({type(error).__name__}: {error}{what})',
            iteration,
            iteration - 1,
        )
        if not is_main_process():  # the first process, which speaks for all, may not see it
            runner.logger.error(str(told))
        else:
            _write_to_log_file(runner, told)
        raise told from error


def diverged(runner: Runner, what: str, iteration: int, updates: int) -> DivergedError:
    """The error for a run that diverged.

    Args:
        runner (Runner): Of the run.
        what (str): Beginning of the sentence: what was seen, and when.
        iteration (int): Iteration of the run, from 1, in which it was seen.
        updates (int): Iterations whose update had been made when it came about.

    Returns:
        DivergedError: Names the learning rate, what to lower, and the checkpoint to continue from.
    """
    amp = isinstance(runner.optim_wrapper, AmpOptimWrapper)
    if updates == 0:
        return DivergedError(
            f'{what}, before the first update of the weights, so the learning rate is not '
            'to blame: look for broken values in the annotations and in the checkpoint that the '
            f'weights came from{", and try without --amp" if amp else ""}.',
            iteration,
        )
    rates = runner.optim_wrapper.get_lr()
    rate = rates.get('base_lr') or next(iter(rates.values()))
    kept = _kept_checkpoint(runner)
    way = (
        f'The last good checkpoint is {kept}: the same command with --resume and a lower rate '
        'under --cfg-options continues from it.'
        if kept
        else 'No checkpoint was written yet, so start over.'
    )
    return DivergedError(
        f'{what}, at a learning rate of {rate[0]:g}: lower optim_wrapper.optimizer.lr, warm it up '
        '(a LinearLR in param_scheduler) or clip the gradients (optim_wrapper.clip_grad)'
        f'{", or train without --amp" if amp else ""}. {way}',
        iteration,
    )


def trained_keys(runner: Runner) -> list[str]:
    """Keys of the state dict that training changes: parameters and running statistics.

    Other buffers may be infinite for a reason, as the mask of an attention is.

    Args:
        runner (Runner): Of the run.

    Returns:
        list[str]: The keys, without the prefix of a model wrapper.
    """
    model: nn.Module = _model(runner)
    return [
        *(name for name, _ in model.named_parameters()),
        *(
            name
            for name, _ in model.named_buffers()
            if name.endswith(('running_mean', 'running_var'))
        ),
    ]


def non_finite_key(state: Mapping) -> str | None:
    """The dotted key of the first tensor in nested dicts and lists that is not finite, or None."""
    for key, value in state.items():
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value))
        if isinstance(value, Mapping):
            if (inner := non_finite_key(value)) is not None:
                return f'{key}.{inner}'
        elif isinstance(value, Tensor) and value.is_floating_point() and not value.isfinite().all():
            return str(key)
    return None


def _non_finite_weights(runner: Runner) -> str | None:
    state = _model(runner).state_dict()
    return non_finite_key({key: state[key] for key in trained_keys(runner)})


def _call_before_steps(optimizer: Optimizer, look: Callable[[Optimizer], None]) -> None:
    """What ``register_step_pre_hook`` does, which torch 2.1 ignores once something is compiled."""
    step = optimizer.step

    @wraps(step)
    def looked_at(*args: Any, **kwargs: Any) -> Any:
        look(optimizer)
        return step(*args, **kwargs)

    optimizer.step = looked_at


def _not_finite(tensors: Sequence[Tensor]) -> list[int]:
    """Places of tensors that are not finite, in one transfer from the device."""
    if not tensors:
        return []
    tensors = [t.coalesce().values() if t.is_sparse else t for t in tensors]
    largest = torch.stack(
        [
            vector_norm(t, math.inf).float() if t.numel() else t.new_zeros(()).float()
            for t in tensors
        ]
    )
    finite = largest.isfinite()
    return [] if finite.all() else (~finite).nonzero().flatten().tolist()


def _images(data_batch: Any) -> str:
    """', in a batch of a.jpg, b.jpg', '' where images have no files."""
    samples = data_batch.get('data_samples') if isinstance(data_batch, Mapping) else None
    paths = [getattr(sample, 'img_path', None) for sample in samples or ()]
    paths = [path for path in paths if isinstance(path, str)]
    return f', in a batch of {first_few(paths)}' if paths else ''


def _first_bad_layer(runner: Runner, data_batch: Any) -> str | None:
    """The layer whose output is the first that is not finite, when the step is made again.

    In a distributed run that would wait for processes whose batch is good.
    """
    if get_world_size() > 1:
        return None
    model, found = _model(runner), []

    def look(name: str, module: nn.Module, _: Any, output: Any) -> None:
        if not found and non_finite_key({'': output}) is not None:
            found.append(f'{name} ({type(module).__name__})')

    hooks = [
        module.register_forward_hook(partial(look, name))
        for name, module in model.named_modules()
        if name and module is not getattr(model, 'data_preprocessor', None)
    ]
    try:
        # The step's own random numbers; a model that fails has come as far as it did.
        seed_step(runner)
        with suppress(Exception), torch.no_grad(), runner.optim_wrapper.optim_context(model):
            model._run_forward(model.data_preprocessor(data_batch, True), mode='loss')
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def _value(runner: Runner, key: str, value: Any) -> float:
    name = f'train/{key}'
    if name in runner.message_hub.log_scalars:
        return float(runner.message_hub.get_scalar(name).current())
    return float(value)  # without RuntimeInfoHook


def _describe(losses: dict[str, float]) -> str:
    parts = ', '.join(f'{key} {value:.4g}' for key, value in losses.items() if key != 'loss')
    total = losses.get('loss')
    name = 'a part of the loss is not finite' if total is None else f'the loss is {total:.4g}'
    return f'{name} ({parts})' if parts else name


def _first_told(text: str | None) -> str | None:
    """What the first process with something to tell has to tell, in every process."""
    if not any_process(text is not None):
        return None
    return next(told for told in all_gather_object(text) if told is not None)


def _write_to_log_file(runner: Runner, error: DivergedError) -> None:
    """So that who reads the log later knows why it ends; on the terminal the tool tells it."""
    record = runner.logger.makeRecord(
        runner.logger.name, logging.ERROR, __file__, 0, str(error), (), None
    )
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


def _kept_checkpoint(runner: Runner) -> str | None:
    """The last checkpoint that this run, or the run it resumed, wrote to the end."""
    hub = runner.message_hub
    return (
        hub.get_info('kept_ckpt') if 'kept_ckpt' in hub.runtime_info else hub.get_info('last_ckpt')
    )


def _model(runner: Runner) -> nn.Module:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model
