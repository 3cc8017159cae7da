"""What is said of a type that no registry has."""

import sys

import pytest
from mmengine.config import Config

from dn_mmdet.engine.preflight.registries import unknown_type

# A package of OpenMMLab's that no stack has.
SENTENCE = f'the package mmpose is not installed in {sys.prefix}: run `pip install mmpose`.'


@pytest.mark.parametrize(
    'scope, name, words',
    [
        ('mmpose', 'TopdownPoseEstimator', SENTENCE),
        ('mmdet', 'mmpose.TopdownPoseEstimator', SENTENCE),
        ('mmdet', 'RetinaNett', "did you mean 'RetinaNet'?"),
        # A scope of one's own is no package that could be installed.
        ('my_scope', 'RetinaNett', "did you mean 'RetinaNet'?"),
        (None, 'Nothing like it', 'check the spelling'),
    ],
)
def test_unknown_type(scope, name, words):
    error = unknown_type('model.type', name, Config(dict(default_scope=scope)))
    assert words in str(error) and f'model.type is {name!r}' in str(error)
