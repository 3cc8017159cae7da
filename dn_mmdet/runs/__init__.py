"""Runs on disk: read, made several at a time and resumed, published."""

from .launch import Training
from .log import RunLog, read_run_log
from .publish import publish
from .run import Run, read_run
from .schedule import Job, run_all, threads_each

__all__ = [
    'Job',
    'Run',
    'RunLog',
    'Training',
    'publish',
    'read_run',
    'read_run_log',
    'run_all',
    'threads_each',
]
