"""What every test needs: two cores shared fairly, and a process as a user's is at its start."""

import os
import signal

# Before torch is imported: more threads than cores make the small models of the tests crawl.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch

# Behind `&` or nohup a shell lets Ctrl-C be ignored, also by the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# torch's launcher of processes takes them, and keeps them.
HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """Undo what a run sets for its process, and what a run before this test has set."""
    for name in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    from mmengine.registry import DefaultScope

    DefaultScope._instance_dict.clear()
    torch.set_flush_denormal(False)
    handlers = {number: signal.getsignal(number) for number in HANDLED}
    yield
    torch.set_flush_denormal(False)
    for number, handler in handlers.items():
        signal.signal(number, handler)
