"""The ground is light: a tool can report an error before torch or mmengine is imported."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Where mmengine is installed, importing the package registers the layers with it and so loads
# torch; where it is not, nothing heavy may come in.
CODE = """
import importlib, pkgutil, sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet'):
    sys.modules[name] = None
import dn_mmdet.utils
modules = [m.name for m in pkgutil.iter_modules(dn_mmdet.utils.__path__, 'dn_mmdet.utils.')]
assert len(modules) >= 5, modules
for name in modules:
    importlib.import_module(name)
"""


def test_utils_load_neither_torch_nor_mmengine():
    done = subprocess.run(
        [sys.executable, '-c', CODE],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
