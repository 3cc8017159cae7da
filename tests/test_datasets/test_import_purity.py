"""A converter starts fast and names a mistake without torch or an OpenMMLab package.

Where mmengine is installed, importing dn_mmdet registers the layers with it, as configurations
rely on, and so loads torch; where it is not, nothing heavy may come in.
"""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
import runpy, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet'):
    sys.modules[name] = None
import dn_mmdet.datasets.digits, dn_mmdet.datasets.imagenet100, dn_mmdet.datasets.files.images
loaded = {name.split('.')[0] for name, module in sys.modules.items() if module is not None}
assert not loaded & {'torchvision', 'cv2', 'scipy', 'sklearn', 'skimage', 'matplotlib'}, loaded
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name='__main__')
"""


@pytest.mark.parametrize(
    'tool, arguments, error',
    [
        ('digits_coco.py', ['--val', '0'], '--val is 0; it must be at least 1.'),
        ('imagenet100.py', ['nowhere'], 'There is no folder nowhere;'),
    ],
)
def test_converters_need_neither_torch_nor_openmmlab(tool, arguments, error, tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', CODE, str(ROOT / 'tools/dataset_converters' / tool), *arguments],
        cwd=tmp_path,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr.startswith(f'error: {error}'), done.stderr


@pytest.mark.parametrize('tool', ['digits_coco.py', 'imagenet100.py'])
def test_a_missing_package_is_told_in_a_line(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, 'dn_mmdet.datasets', None)
    with pytest.raises(SystemExit, match='^error: .*dn_mmdet.datasets'):
        runpy.run_path(str(ROOT / 'tools/dataset_converters' / tool), run_name='__main__')
