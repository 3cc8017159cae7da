"""What the room offers where mmengine is not installed."""

import os
import subprocess
import sys

from tests.helpers.tiny import REPOSITORY

CODE = """
import sys
for name in ('torch', 'mmengine', 'mmcv', 'mmdet'):
    sys.modules[name] = None
import dn_mmdet.engine
from dn_mmdet.engine import UserError, user_errors
assert sorted(dn_mmdet.engine.__all__) == ['UserError', 'user_errors']
with user_errors():
    raise UserError('it is told')
"""


def test_without_mmengine_the_errors_are_there():
    done = subprocess.run(
        [sys.executable, '-c', CODE],
        env=os.environ | {'PYTHONPATH': str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (1, 'error: it is told\n')
