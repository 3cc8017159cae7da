import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dn_mmdet.utils.python_version import SUPPORTED_PYTHON
from dn_mmdet.utils.versions import (
    SUPPORTED_VERSIONS,
    check_mmcv_operators,
    check_versions,
    installed_version,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    'name, version',
    [
        ('torch', '2.0.1'),
        ('mmcv', '2.2.0'),
        ('mmcv', '1.7.2'),
        ('mmdet', '2.28.2'),
        ('mmdet', '3.2.0'),
        ('mmdet', '3.4.0'),
        ('mmengine', '0.10.2'),
        ('mmengine', '0.11.0'),
    ],
)
def test_unsupported_package_is_named_with_a_remedy(name, version):
    with pytest.raises(ImportError) as error:
        check_versions({name: version})
    message = str(error.value)
    assert name in message and version in message and 'pip install' in message
    assert '\n' not in message


@pytest.mark.parametrize(
    'versions',
    [
        dict(torch='2.1.2+cu121', mmengine='0.10.7', mmcv='2.1.0', mmdet='3.3.0'),
        dict(mmengine='0.10.12', mmcv='2.3.6', mmdet='3.5.1'),
        dict(mmengine='0.10.7', mmcv=None, mmdet=None),
    ],
)
def test_supported_stacks_pass(versions):
    check_versions(versions)


def test_mmcv_without_operators_is_refused_with_the_command_that_builds_them(monkeypatch):
    pytest.importorskip('mmcv')
    check_mmcv_operators()
    monkeypatch.setitem(sys.modules, 'mmcv._ext', None)
    with pytest.raises(ImportError, match='^mmcv .* was installed without its operators') as error:
        check_mmcv_operators()
    message = str(error.value)
    assert f'mmcv=={installed_version("mmcv")}"`.' in message and 'no-build-isolation' in message


def test_mmcv_built_against_another_torch_is_refused_with_its_reason(monkeypatch):
    def fail(name):
        raise ImportError(f'{name}: undefined symbol: _ZN3c105Error\nand more')

    monkeypatch.setattr('dn_mmdet.utils.versions.import_module', fail)
    monkeypatch.setattr('dn_mmdet.utils.versions.installed_version', lambda name: '2.3.6')
    with pytest.raises(ImportError, match='do not fit the torch .*undefined symbol') as error:
        check_mmcv_operators()
    assert '\n' not in str(error.value) and '"onedl-mmcv==2.3.6"' in str(error.value)


def test_installed_version_is_that_of_the_package():
    mmdet = pytest.importorskip('mmdet')
    assert installed_version('mmdet') == mmdet.__version__
    assert installed_version('no_such_package') is None


def test_installed_version_of_a_package_that_asks_its_distribution(tmp_path, monkeypatch):
    import torch

    (tmp_path / 'forked').mkdir()
    (tmp_path / 'forked' / '__init__.py').write_text('')
    (tmp_path / 'forked' / 'version.py').write_text(
        "from importlib.metadata import version\n\n__version__ = version('torch')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert installed_version('forked').split('+')[0] == torch.__version__.split('+')[0]


def test_setup_cfg_and_the_code_name_the_same_ranges():
    config = configparser.ConfigParser(interpolation=None)
    config.read(ROOT / 'setup.cfg')
    assert config['options']['python_requires'] == SUPPORTED_PYTHON
    extras = config['options.extras_require']
    needed = config['options']['install_requires'].split()
    official = dict(re.match(r'(\w+)(.*)', line).groups() for line in extras['mmdet'].split())
    fork = dict(
        re.match(r'onedl-(\w+)(.*)', line).groups()
        for line in extras['fork'].split()
        if line.startswith('onedl')
    )
    fork['mmdet'] = fork.pop('mmdetection')
    torch, *_ = (line for line in needed if line.startswith('torch'))
    assert torch == f'torch{SUPPORTED_VERSIONS["torch"][0]}'
    for name, ranges in SUPPORTED_VERSIONS.items():
        if name == 'torch':
            continue
        assert ranges[0] == official[name]
        # The fork's mmengine keeps to the same line of versions.
        assert fork[name] in ranges or name == 'mmengine'


@pytest.mark.parametrize(
    ('name', 'version', 'supported'),
    [('mmcv', '1.7.0', '>=2.0.0,<2.2.0'), ('torch', '2.0.1+cpu', '>=2.1')],
)
def test_import_with_an_unsupported_package_says_what_to_do(name, version, supported, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / '__init__.py').write_text('raise SystemError("imported")')
    (tmp_path / name / 'version.py').write_text(f'__version__ = {version!r}\n')
    ended = subprocess.run(
        [sys.executable, '-c', 'import dn_mmdet'],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={'PYTHONPATH': str(tmp_path), 'PATH': ''},
        check=False,
    )
    assert ended.returncode != 0
    sentence = f'ImportError: dn_mmdet supports {name} {supported}'
    assert sentence in ended.stderr.splitlines()[-1]
