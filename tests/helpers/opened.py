"""How often files are opened."""

import builtins
import os
from collections import Counter

import pytest


@pytest.fixture
def opened(monkeypatch):
    """Name of a file to the number of times it was opened."""
    counts, plain = Counter(), builtins.open

    def count(file, *args, **kwargs):
        if isinstance(file, (str, os.PathLike)):
            counts[os.path.basename(file)] += 1
        return plain(file, *args, **kwargs)

    monkeypatch.setattr(builtins, 'open', count)
    return counts
