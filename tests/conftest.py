"""What every test needs: two cores shared fairly, and a process as a user's is at its start."""

import os
import signal
import sys

# Before torch is imported: more threads than cores make the small models of the tests crawl.
os.environ.setdefault('OMP_NUM_THREADS', '1')

import pytest
import torch

# Behind `&` or nohup a shell lets Ctrl-C be ignored, also by the processes that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# torch's launcher of processes takes them, and keeps them; so it does in fixtures of modules.
HANDLERS = {
    number: signal.getsignal(number)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
}


# Models whose parts were found to fit each other.
FITTING = set()


@pytest.fixture(autouse=True)
def each_model_is_checked_once(monkeypatch):
    """Send maps through each model once: it takes most of a preflight, of which tests do hundreds.

    test_levels.py calls the check itself; what does not fit is checked each time.
    """
    preflight = sys.modules.get('dn_mmdet.engine.preflight')
    if preflight is None:
        return

    def check_levels(run):
        model = repr(run.cfg.model)
        if model not in FITTING:
            preflight.check_levels(run)
            FITTING.add(model)

    checks = (check_levels if c is preflight.check_levels else c for c in preflight.CHECKS)
    monkeypatch.setattr(preflight, 'CHECKS', tuple(checks))


@pytest.fixture(autouse=True)
def process(monkeypatch):
    """Undo what a run sets for its process, and what a run before this test has set."""
    for name in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', 'LOCAL_RANK'):
        monkeypatch.setenv(name, '')
        monkeypatch.delenv(name)
    # Not imported here: the rooms on torch alone are tested without mmengine too.
    if registry := sys.modules.get('mmengine.registry'):
        registry.DefaultScope._instance_dict.clear()
    # Half of the time of a short run: configurations are laid out anew for every checkpoint.
    for place in ('mmengine.config.config', 'yapf.yapflib.yapf_api'):  # by release of mmengine
        if module := sys.modules.get(place):
            monkeypatch.setattr(module, 'FormatCode', lambda text, **_: (text, True), raising=False)
    torch.set_flush_denormal(False)
    take_back_signals()
    yield
    torch.set_flush_denormal(False)
    take_back_signals()


def take_back_signals():
    for number, handler in HANDLERS.items():
        signal.signal(number, handler)
