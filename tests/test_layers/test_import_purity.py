import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCKED = ('mmengine', 'mmcv', 'mmdet', 'torchvision', 'numpy', 'cv2')
LAYERS = f"""
import sys
for name in {BLOCKED[:3]!r}:
    sys.modules[name] = None
import dn_mmdet
assert 'torch' not in sys.modules
assert set(dn_mmdet.__all__) < set(dir(dn_mmdet)) and not hasattr(dn_mmdet, 'DNX')
assert 'torch' not in sys.modules
from dn_mmdet import DNB, DNC, SEBN, __version__, convert_batchnorm
assert DNB is dn_mmdet.layers.DNB and convert_batchnorm(DNB(4).bn).num_features == 4
import torch, dn_mmdet.ops
assert DNB(8)(torch.zeros(2, 8, 3, 3)).shape == (2, 8, 3, 3)
loaded = {{name for name, module in sys.modules.items() if module is not None}}
assert not loaded & {{'mmengine', 'mmcv', 'mmdet', 'torchvision', 'cv2', 'numpy.testing'}}
"""


# mmengine brings neither mmdet nor what mmdet brings.
MMENGINE = """
import sys
for name in ('mmcv', 'mmdet', 'torchvision', 'tqdm', 'jinja2', 'scipy', 'pycocotools'):
    sys.modules[name] = None
import dn_mmdet.engine
from mmengine.registry import MODELS
assert MODELS.build(dict(type='DNB', num_features=4)).num_features == 4
"""


@pytest.mark.parametrize('code', [LAYERS, MMENGINE], ids=['layers', 'mmengine alone'])
def test_without_openmmlab_packages(code):
    if code == MMENGINE:
        pytest.importorskip('mmengine')
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    run = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
