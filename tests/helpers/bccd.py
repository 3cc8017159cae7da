"""The public data set of blood cells, where it is at hand."""

import os
from pathlib import Path

import pytest

__all__ = ['BCCD', 'NEEDS_BCCD']

ROOT = Path(__file__).parents[2]
PLACES = (
    os.environ.get('DN_MMDET_BCCD'),
    ROOT / 'data/bccd',
    ROOT.parent / 'shared/data/bccd',
)
BCCD = next((Path(p) for p in PLACES if p and (Path(p) / 'ImageSets').is_dir()), None)
NEEDS_BCCD = pytest.mark.skipif(
    BCCD is None, reason='BCCD is not here: put it into data/bccd, or its folder in DN_MMDET_BCCD'
)
