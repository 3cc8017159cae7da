"""Every backend offers what the protocol asks for."""

import inspect

import pytest

from dn_mmdet.ops.backends import KERNELS, empty
from dn_mmdet.ops.backends.kernels import Kernels
from dn_mmdet.ops.dispatch import PATHS

MODULES = {**KERNELS, 'empty': empty}
# Flag of a module to the function that it has no need of where the flag is off.
OPTIONAL = {
    'evaluate': 'EVALUATES',
    'fused_forward': 'FUSES',
    'fused_gradients': 'FUSES',
    'gated': 'GATES_FROM_OUTPUT',
}
FUNCTIONS = {
    name: list(inspect.signature(function).parameters)[1:]
    for name, function in inspect.getmembers(Kernels, inspect.isfunction)
    if not name.startswith('_')
}


def test_the_protocol_is_read_as_it_is():
    assert FUNCTIONS['plane_products'] == ['dy', 'x', 'mean', 'gate']
    assert FUNCTIONS.keys() >= {'widen', 'sc_forward', 'sc_backward', *OPTIONAL}
    assert set(PATHS) == {'auto', 'reference', *KERNELS}


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.parametrize('function', FUNCTIONS)
def test_parameters(name, function):
    module = MODULES[name]
    if function in OPTIONAL and not getattr(module, OPTIONAL[function]):
        assert not hasattr(module, function)
        return
    parameters = inspect.signature(getattr(module, function)).parameters
    asked = FUNCTIONS[function]
    assert list(parameters)[: len(asked)] == asked
    # What a module can do beyond the protocol it must not ask for.
    assert all(
        parameters[more].default is not inspect.Parameter.empty
        for more in list(parameters)[len(asked) :]
    )
    assert function in module.__all__


@pytest.mark.parametrize('name', MODULES)
def test_flags(name):
    for flag in OPTIONAL.values():
        assert isinstance(getattr(MODULES[name], flag), bool) and flag in MODULES[name].__all__
