"""Work that may kill its process, done in another one."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from ...utils.text import error_line

__all__ = ['run_apart']

# A fork has the caller's GPUs and threads, and cannot use them.
METHOD = 'spawn'


def run_apart(
    work: Callable[[Any], Any], tasks: Sequence[Any], seconds: float = 300.0
) -> Iterator[tuple[Any, str]]:
    """Yield what ``work`` makes of each task in turn, and a fault, '' where there is none.

    A process works on one task after the other; after a fault, of which a GPU may not recover, a
    new one goes on with the next.

    Args:
        work (Callable): Found by its name in its module, as are the tasks.
        tasks (Sequence): What it is called with.
        seconds (float): What takes longer has failed. Defaults to 300.

    Yields:
        tuple[Any, str]: The result, or None and what was wrong.
    """
    context, done = multiprocessing.get_context(METHOD), 0
    while done < len(tasks):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(work, tasks[done:], there))
        process.start()
        there.close()
        try:
            fault = ''
            while done < len(tasks) and not fault:
                result, fault = _receive(here, process, seconds)
                done += 1
                yield result, fault
        finally:
            process.kill()
            process.join()
            here.close()


def _receive(
    connection: Connection, process: multiprocessing.Process, seconds: float
) -> tuple[Any, str]:
    if not connection.poll(seconds):
        return None, f'no result within {seconds:.0f} s'
    try:
        return connection.recv()
    except EOFError:
        process.join(10)
        return None, f'the process died of it (exit status {process.exitcode})'


def _work(work: Callable[[Any], Any], tasks: Sequence[Any], connection: Connection) -> None:
    for task in tasks:
        try:
            result = work(task), ''
        except Exception as error:
            result = None, error_line(error.__cause__ or error, 500)
        connection.send(result)
        if result[1]:
            return
