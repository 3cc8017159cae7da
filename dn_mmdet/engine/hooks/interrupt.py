"""Ctrl-C, and the SIGTERM of a machine that is taken away: save, then stop."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from copy import copy
from functools import partial
from multiprocessing.process import BaseProcess
from threading import Thread
from types import FrameType
from typing import Any

from mmengine.dist import barrier, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..distributed import any_process
from .checkpoint import AtomicCheckpointHook

__all__ = ['saved_at_interrupts']

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def saved_at_interrupts(runner: Runner) -> Iterator[None]:
    """Wrap training: SIGINT and SIGTERM end it behind the step, with a checkpoint of that step.

    In a distributed run one process that is told to stop is enough. In the middle of accumulated
    gradients, which no checkpoint has, the run goes on to their update. A second signal ends a run
    of one process at once; a launcher, which kills what does not end, may send several.

    Args:
        runner (Runner): Of the run.

    Raises:
        KeyboardInterrupt: The run was interrupted.
    """
    hook = _InterruptHook()
    runner.register_hook(hook)
    earlier = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if hook.listening:
            for number, handler in earlier.items():
                signal.signal(number, handler)


class _InterruptHook(Hook):
    # Behind everything that belongs to a step.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self.listening = False
        self._told, self._process = False, os.getpid()

    def before_train(self, runner: Runner) -> None:
        """From here on there is something to save."""
        with suppress(ValueError):  # signals are for the main thread
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    signal.signal(number, self._note)
                    self.listening = True
        for loop in (runner.train_loop, runner.val_loop) if self.listening else ():
            if isinstance(loader := getattr(loop, 'dataloader', None), DataLoader):
                _keep_workers(loader)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop behind an update."""
        if any_process(self._told) and runner.optim_wrapper.should_update():
            _stop(runner, runner.iter + 1, together=True)

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop in an evaluation, where each process may have a number of batches of its own."""
        if self._told:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):
                    hook.after_val_epoch(runner)  # averages are evaluated, and not trained on
            _stop(runner, runner.iter)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Stop behind the part of an evaluation that has no steps."""
        if any_process(self._told):
            _stop(runner, runner.iter, together=True)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process and self._told:
            # A process that loads data, which a terminal and a scheduler tell too: it is needed
            # for the step, and ended afterwards.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self._told and get_world_size() == 1:
            raise KeyboardInterrupt
        self._told = True


def _keep_workers(loader: DataLoader) -> None:
    """Have a SIGTERM end the processes that load data only when it comes from their parent.

    A launcher or a scheduler tells them too, and torch ends one at any SIGTERM, but they are needed
    for the step. Their parent ends them, and where that is gone torch does.
    """
    if not loader.num_workers or not hasattr(signal, 'sigwaitinfo'):  # as on macOS
        return
    loader.worker_init_fn = partial(_listen, loader.worker_init_fn)
    given = loader.multiprocessing_context
    context = copy(multiprocessing.get_context() if given is None else given)
    context.Process = partial(_begin_deaf, context.Process)
    loader.multiprocessing_context = context


def _begin_deaf(make: Callable[..., BaseProcess], *args: Any, **kwargs: Any) -> BaseProcess:
    """Make a process that has SIGTERM blocked from its first moment on, in all of its threads."""
    process = make(*args, **kwargs)

    def start() -> None:
        del process.start  # also since it may be pickled
        earlier = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, earlier)

    process.start = start
    return process


def _listen(earlier: Callable | None, worker: int) -> None:
    """Begin what waits for SIGTERM in a process that loads data."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # a fork server's has its own mask
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if earlier is not None:
        earlier(worker)


def _end_with(parent: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)


def _stop(runner: Runner, iteration: int, together: bool = False) -> None:
    for hook in runner.hooks:
        if isinstance(hook, AtomicCheckpointHook):
            hook.save_interrupted(runner, iteration)
            break
    if together:
        barrier()  # a launcher ends the first process, which writes, when another has ended
    raise KeyboardInterrupt
