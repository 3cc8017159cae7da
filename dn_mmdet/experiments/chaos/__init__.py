"""Runs of several processes that are killed, stopped and told to end, and what becomes of them."""

from .run import run_chaos

__all__ = ['run_chaos']
