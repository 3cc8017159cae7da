"""Jobs that may depend on each other, several at a time; what is done already is not done again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import torch

from ..utils.errors import UserError
from ..utils.processes import interrupted_by_sigterm
from ..utils.progress import Progress

__all__ = ['Call', 'Job', 'Report', 'run_all', 'threads_each']

# Told the share that is done, 0 to 1, and a few words.
Report = Callable[[float, str], None]


class Job:
    """What :func:`run_all` asks of a job: subclasses say how it runs, and what else is theirs.

    Args:
        name (str): What it is, for people; of one job alone.
        after (Sequence[Job]): Jobs that must be done before. Defaults to ().
        cost (float): Expected seconds on some machine; the proportions count. Defaults to 1.0.
    """

    def __init__(self, name: str, *, after: Sequence[Job] = (), cost: float = 1.0):
        self.name, self.after, self.cost = name, after, cost

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return False

    @property
    def output(self) -> Path | None:
        """Where the result of a job that is done lies."""
        return None

    def set_aside(self) -> str:
        """Put out of the way, before any job starts, what was made with other settings.

        Returns:
            str: A sentence about what was moved, '' where nothing was.
        """
        return ''

    def why_not(self) -> str:
        """Why a job that is not done is not to be started, '' where it is."""
        return ''

    def run(self, report: Report, threads: int | None = None) -> str | None:
        """Do what is left to do.

        Args:
            report (Callable[[float, str], None]): Told the share done, 0 to 1, and a few words.
            threads (int, optional): Threads to compute with. Defaults to what the environment says.

        Returns:
            str | None: A few words on the result. None says 'done'.

        Raises:
            UserError: The job failed.
        """
        raise NotImplementedError

    def stop(self, grace: float | None = None) -> None:
        """End :meth:`run`, which is in another thread.

        Args:
            grace (float, optional): Seconds to let it end by itself. Defaults to the job's own.
        """


class Call(Job):
    """A function that this process calls; it cannot be stopped from another thread.

    Args:
        name (str): As in :class:`Job`.
        function (Callable[[Report], str | None]): As :meth:`Job.run`.
        **job: ``after`` and ``cost`` of :class:`Job`.
    """

    def __init__(self, name: str, function: Callable[[Report], str | None], **job: Any):
        super().__init__(name, **job)
        self.function = function

    def run(self, report: Report, threads: int | None = None) -> str | None:
        """Call it."""
        return self.function(report)


def run_all(
    jobs: Sequence[Job], workers: int | None = None, keep_going: bool = True
) -> dict[str, str]:
    """Run the jobs that are not done yet, in the order given where their ``after`` allows it.

    Args:
        jobs (Sequence[Job]): All of them, those that others come after too.
        workers (int, optional): Jobs at a time, see :func:`threads_each`. One at a time has the
            thread of the caller, and as many threads to compute with as the environment says.
        keep_going (bool): Whether a job that fails leaves the others to run. Defaults to True.

    Returns:
        dict[str, str]: Name of each job that could not be done to the reason.

    Raises:
        UserError: A job failed and ``keep_going`` is False.
        KeyboardInterrupt: SIGINT or SIGTERM came, and all jobs have been stopped.
    """
    for job in jobs:
        if note := job.set_aside():
            print(note)
    waiting = [job for job in jobs if not job.done]
    workers, threads = threads_each(len(waiting), workers)
    progress = Progress({job.name: job.cost for job in jobs}, workers)
    finished = set(jobs) - set(waiting)
    failed: dict[str, str] = {}
    for job in jobs:
        if job in finished:
            progress.skip(job.name, f'already done ({job.output})')
        elif reason := job.why_not():
            _give_up(job, reason, progress, failed, keep_going)
    waiting = [job for job in waiting if job.name not in failed]
    running: dict[Future, Job] = {}
    stopping = threading.Event()
    settings = progress, threads if workers > 1 else None, stopping, keep_going
    threads_or_this = ThreadPoolExecutor(workers) if workers > 1 else _ThisThread()
    with interrupted_by_sigterm(), threads_or_this as pool:
        try:
            while waiting or running:
                before = list(waiting)
                for job in before:
                    if lost := [other.name for other in job.after if other.name in failed]:
                        reason = f'not started, because {" and ".join(lost)} failed'
                        _give_up(job, reason, progress, failed, keep_going)
                    elif len(running) < workers and finished.issuperset(job.after):
                        running[pool.submit(_run, job, *settings)] = job
                    else:
                        continue
                    waiting.remove(job)
                if waiting and waiting == before and not running:
                    names = ', '.join(job.name for job in waiting)
                    raise ValueError(f'{names}: what they come after is not among the jobs')
                for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                    job, reason = running.pop(future), future.result()
                    if reason:
                        failed[job.name] = job.why_not() or reason
                    else:
                        finished.add(job)
        except BaseException:
            stopping.set()
            for number, job in enumerate(running.values()):
                job.stop(grace=0 if number else None)  # they have had the first one's time
            raise
    return failed


def threads_each(jobs: int, workers: int | None = None) -> tuple[int, int]:
    """How many jobs to run at a time, and on how many threads each.

    Two runs of one thread each are done sooner than two runs of two threads, one after the other.
    On a GPU one run has it to itself.

    Args:
        jobs (int): That are to be run.
        workers (int, optional): Jobs at a time. Defaults to one for each core, with a GPU to 1.

    Returns:
        tuple[int, int]: ``workers``, not above ``jobs``, and the cores divided by them.
    """
    cores = len(os.sched_getaffinity(0))
    workers = max(min(workers or (1 if torch.cuda.is_available() else cores), jobs), 1)
    return workers, max(cores // workers, 1)


class _ThisThread(Executor):
    """Calls what is submitted at once, so that Ctrl-C reaches the job itself."""

    def submit(self, function: Callable, /, *arguments: object) -> Future:
        future: Future = Future()
        future.set_result(function(*arguments))
        return future


def _give_up(
    job: Job, reason: str, progress: Progress, failed: dict[str, str], keep_going: bool
) -> None:
    if not keep_going:
        raise UserError(f'{job.name}: {reason}')
    failed[job.name] = reason
    progress.skip(job.name, reason.splitlines()[0])


def _run(
    job: Job,
    progress: Progress,
    threads: int | None,
    stopping: threading.Event,
    keep_going: bool,
) -> str:
    """Run a job with its progress shown; return why it failed, or ''."""
    step = progress.start(job.name)
    try:
        status = job.run(step.show, threads)
    except KeyboardInterrupt:
        step.finish('interrupted', whole=False)
        raise
    except UserError as error:
        # Where it ends all, the caller says why.
        failure = f'failed: {error}' if keep_going else 'failed'
        step.finish('interrupted' if stopping.is_set() else failure, whole=False)
        if keep_going:
            return str(error)
        raise
    step.finish(status or 'done')
    return ''
