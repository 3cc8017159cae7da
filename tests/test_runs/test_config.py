"""A run's configuration is data: built from as mmengine would, and never run."""

import pytest
from mmengine.config import Config

from dn_mmdet.paths import configs_root
from dn_mmdet.runs.config import effective, literal_config, parse_config
from dn_mmdet.utils.errors import UserError


@pytest.mark.parametrize(
    'name',
    [
        'ssdlite_mbv2_dnb_coco.py',
        'digits/ssdlite_mbv2_dnb_digits.py',
        'digits/mbv2_bn_digits.py',
    ],
)
def test_it_is_what_mmengine_makes_of_what_it_dumped(name, tmp_path):
    file = tmp_path / 'config.py'
    Config.fromfile(configs_root() / name).dump(file)
    found, expected = literal_config(file.read_text(), file), Config.fromfile(file)
    assert found.to_dict() == expected.to_dict() and found.filename == expected.filename
    # Tuples are no lists: transforms tell a size from a list of sizes by that.
    assert repr(found.to_dict()) == repr(expected.to_dict())


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('a = dict(b=[1, dict(c=open({file!r}, "w"))])', r'a\.b\.1\.c is not a literal but open\('),
        ('open({file!r}, "w")', 'line 1, .open.*is not a plain NAME = VALUE'),
        ('import os', 'line 1, .import os., is not a plain NAME = VALUE'),
        ('_base_ = "other.py"', 'is not a complete configuration .*line 1, .*_base_'),
        ('a = dict(**open({file!r}, "w"))', r'a is not a literal but dict\('),
        ('a = [1', 'is not valid Python at line 1'),
        ("custom_imports = dict(imports=['no_such_module'])", 'custom_imports .*no_such_module'),
    ],
)
def test_what_would_have_to_be_run_is_named_and_not_run(line, message, tmp_path):
    made = tmp_path / 'made'
    with pytest.raises(UserError, match=message) as error:
        literal_config(line.format(file=str(made)) + '\n', 'run/config.py')
    assert 'run/config.py' in str(error.value) and not made.exists()


def test_only_what_is_needed_has_to_be_literal():
    text = 'model = dict(type="A", size=(1, 2))\nhook = dict(f=print)\n'
    assert literal_config(text, 'a.py', ['model', 'other']).model.size == (1, 2)
    with pytest.raises(UserError, match=r'hook\.f is not a literal but print'):
        literal_config(text, 'a.py')


def test_hooks_that_only_check_decide_nothing():
    hooks = "[dict(type='NumClassCheckHook'), dict(type='CheckInvalidLossHook', interval=50)]"
    plain = effective(parse_config("model = dict(type='A')\n"))
    assert effective(parse_config(f"model = dict(type='A')\ncustom_hooks = {hooks}\n")) == plain
    more = effective(parse_config("model = dict(type='A')\ncustom_hooks = [dict(type='EMAHook')]"))
    assert more != plain and more['custom_hooks'] == [{'type': 'EMAHook'}]
