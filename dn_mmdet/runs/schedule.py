"""Many training runs, several at a time; one that fails does not stop the others."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait

import torch

from ..utils.errors import UserError
from ..utils.progress import Progress
from .launch import Training

__all__ = ['run_all', 'threads_each']


def threads_each(runs: int, workers: int | None = None) -> tuple[int, int]:
    """How many runs to train at a time, and on how many threads each.

    Two runs of one thread each are done sooner than two runs of two threads, one after the other.
    On a GPU one run has it to itself.

    Args:
        runs (int): that are to be trained.
        workers (int, optional): runs at a time. Default: one for each core, with a GPU 1.

    Returns:
        tuple[int, int]: ``workers``, not above ``runs``, and the cores divided by them.
    """
    cores = len(os.sched_getaffinity(0))
    workers = max(min(workers or (1 if torch.cuda.is_available() else cores), runs), 1)
    return workers, max(cores // workers, 1)


def run_all(
    trainings: Sequence[Training],
    costs: dict[str, float],
    workers: int | None = None,
    given_up: Callable[[Training], str] = lambda training: '',
) -> dict[str, str]:
    """Train what is not whole yet, in the order given where the runs before allow it.

    Args:
        trainings (Sequence[Training]): those that others start from among them.
        costs (dict[str, float]): name of each to its expected seconds; proportions count.
        workers (int, optional): see :func:`threads_each`.
        given_up (Callable[[Training], str]): why a run that is not whole is not to go on, '' where
            it is: a loss that is not finite does not come back. Default: all go on.

    Returns:
        dict[str, str]: name of each run without a whole result to the reason.
    """
    failed: dict[str, str] = {}
    missing = []
    for training in trainings:
        moved = training.set_aside()
        if moved:
            print(
                f'{training.work_dir} was of another configuration, seed or data: it is {moved} now'
            )
        if not training.done:
            missing.append(training)
    workers, threads = threads_each(len(missing), workers)
    progress = Progress(costs, workers)
    for training in trainings:
        if training not in missing:
            progress.skip(training.name, f'there already ({training.checkpoint})')
    running = {}
    stopping = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        try:
            while missing or running:
                for training in list(missing):
                    reason = _reason(training, failed, given_up)
                    if reason:
                        failed[training.name] = reason
                        progress.skip(training.name, reason.splitlines()[0])
                        missing.remove(training)
                    elif len(running) < workers and all(run.done for run in training.after):
                        future = pool.submit(_train, training, progress, threads, stopping)
                        running[future] = training
                        missing.remove(training)
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    reason = future.result()
                    training = running.pop(future)
                    if reason:
                        failed[training.name] = given_up(training) or reason
        except BaseException:
            stopping.set()
            for number, training in enumerate(running.values()):
                training.stop(grace=0 if number else None)  # they have had the first one's time
            raise
    return failed


def _reason(training, failed, given_up):
    """Why a run cannot be begun, or ''."""
    lost = [run.name for run in training.after if run.name in failed]
    return f'not trained, because {" and ".join(lost)} failed' if lost else given_up(training)


def _train(training, progress, threads, stopping):
    """Train in a thread of the pool; return why it failed, or ''."""
    step = progress.start(training.name)
    try:
        training.prepare()
        training.run(step.show, threads)
    except UserError as error:
        step.finish('interrupted' if stopping.is_set() else f'failed: {error}', whole=False)
        return str(error)
    step.finish()
    return ''
