"""Every tool, where a package that it needs is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dn_mmdet.utils.errors import missing_package, user_errors

ROOT = Path(__file__).resolve().parents[2]
# These read their command line first, or need none of OpenMMLab's packages.
ALONE = {'benchmark_onnx.py', 'demo.py of deployment', 'imagenet100.py'}
PROGRAM = """
import io, json, runpy, sys
from contextlib import redirect_stderr
from importlib.machinery import PathFinder
from pathlib import Path
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *where: None if name == 'mmengine' else find(name, *where)
told = {}
for tool in sys.argv[1:]:
    sys.argv = [tool]
    path = Path(tool)
    name = path.name + (' of deployment' if path.match('deployment/demo.py') else '')
    with redirect_stderr(io.StringIO()) as errors:
        try:
            runpy.run_path(tool, run_name='__main__')
        except SystemExit as left:
            told[name] = left.code if isinstance(left.code, str) else errors.getvalue()
        except Exception as error:
            told[name] = f'{type(error).__name__}: {error}'
print(json.dumps(told))
"""


def test_every_tool_without_openmmlabs_packages_says_what_installs_them():
    tools = sorted(map(str, (ROOT / 'tools').rglob('*.py')))
    # digits_coco.py would set to work.
    tools = [tool for tool in tools if not tool.endswith('digits_coco.py')]
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, *tools], capture_output=True, text=True, check=False
    )
    told = json.loads(done.stdout)
    assert len(told) == len(tools) > 15
    sentence = f'error: {missing_package("mmengine")}'
    wrong = {
        name: text for name, text in told.items() if name not in ALONE and text.strip() != sentence
    }
    assert not wrong


@pytest.mark.parametrize(
    'name, words',
    [
        ('mmcv', '`pip install --no-build-isolation "dn_mmdet[mmdet]"`'),
        ('sklearn', '`pip install scikit-learn`'),
        ('pkg_resources', '`pip install "setuptools<82"`'),
        ('h5py', '`pip install h5py`'),
    ],
)
def test_a_missing_package_is_a_sentence(name, words, capsys):
    with pytest.raises(SystemExit) as left, user_errors():
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)
    told = capsys.readouterr().err
    assert left.value.code == 1 and told.count('\n') == 1
    assert told.startswith(f'error: the package {name} is not installed in {sys.prefix}: ')
    assert words in told


@pytest.mark.parametrize('name', ['dn_mmdet.no_such', 'dn_mmdet', 'torch.no_such', None])
def test_a_missing_part_of_a_package_is_a_bug(name):
    with pytest.raises(ModuleNotFoundError), user_errors():
        raise ModuleNotFoundError('No module named that', name=name)
