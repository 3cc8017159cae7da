"""Carries the configurations and tools into the wheel, where OpenMMLab packages keep them: .mim/.

The metadata is in setup.cfg.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithConfigsAndTools(build_py):
    """build_py that also copies configs/, tools/ and the README of checkpoints/."""

    def run(self):
        """Build, then copy; an editable install reads the source tree instead."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / 'dn_mmdet' / '.mim'
        ignore = shutil.ignore_patterns('__pycache__', '*.pyc')
        for name in ('configs', 'tools'):
            shutil.copytree(ROOT / name, target / name, ignore=ignore, dirs_exist_ok=True)
        (target / 'checkpoints').mkdir(exist_ok=True)
        shutil.copy2(ROOT / 'checkpoints' / 'README.md', target / 'checkpoints')


setup(cmdclass={'build_py': BuildWithConfigsAndTools})
