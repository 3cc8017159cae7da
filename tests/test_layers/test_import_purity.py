import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCKED = ('mmengine', 'mmcv', 'mmdet', 'torchvision', 'numpy', 'cv2')
CODE = f"""
import sys
for name in {BLOCKED[:3]!r}:
    sys.modules[name] = None
import torch
from dn_mmdet.layers import DNB
assert DNB(8)(torch.zeros(2, 8, 3, 3)).shape == (2, 8, 3, 3)
loaded = {{name.split('.')[0] for name, module in sys.modules.items() if module is not None}}
assert not loaded & {{'mmengine', 'mmcv', 'mmdet', 'torchvision', 'cv2'}}, loaded
"""


def test_layers_need_no_openmmlab_package():
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    run = subprocess.run(
        [sys.executable, '-c', CODE], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
