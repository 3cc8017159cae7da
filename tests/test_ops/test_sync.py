"""Processes that share their statistics, against one process with the whole batch in float64."""

import pytest
import torch
import torch.nn.functional as F

from dn_mmdet.layers import DNB
from dn_mmdet.ops import use_path
from dn_mmdet.ops.selftest import parts
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers import equations, sync_cases
from tests.helpers.layer_maps import random_maps, randomize
from tests.helpers.processes import run_together
from tests.helpers.sync_cases import NAMES, SIZES, VARIANTS, C, images, make, network
from tests.helpers.tolerances import assert_near


@pytest.fixture(scope='module')
def ranks():
    return run_together(sync_cases.run_all)


@pytest.mark.parametrize('case', NAMES, ids=': '.join)
def test_two_processes_equal_the_whole_batch(ranks, case):
    layer, x, dy, sizes = make(*case)
    numbers, exact_x = equations.float64_copy(layer, x)
    options = {
        name: value
        for name, value in VARIANTS[case[2]].items()
        if name in ('sc_input', 'detach_gap', 'parameterization', 'gain')
    }
    if case[0].startswith('dnc'):
        options.pop('sc_input', None)
        y = equations.dnc(exact_x, numbers, **options)
    else:
        y = equations.dnb(exact_x, numbers, **options)
        activation = VARIANTS[case[2]].get('activation')
        y = {'ReLU': F.relu, 'ReLU6': F.relu6, None: lambda y: y}[activation](y)
    y.backward(dy.double())

    parts = [rank[case] for rank in ranks]
    assert [len(part['y']) for part in parts] == list(sizes)
    assert all(part['y'].dtype == part['x'].dtype == x.dtype for part in parts)
    mean = 100 if case[2] == 'far from zero' else 0
    for name, exact in (('y', y), ('x', exact_x.grad)):
        assert_near(torch.cat([part[name] for part in parts]), exact, x.dtype, mean, name)
    # What is summed over the batch is float32 also where the maps are not.
    dtype = torch.promote_types(x.dtype, torch.float32)
    for name, _ in layer.named_parameters():
        summed = sum(part[name] for part in parts)
        assert_near(summed, numbers[name].grad, dtype, mean, name)
    for name in ('running_mean', 'running_var'):
        assert_near(parts[0][name], numbers[f'bn.{name}'], dtype, mean, name)
        assert torch.equal(parts[0][name], parts[1][name])
    assert all(part['num_batches_tracked'] == 1 for part in parts)


def test_number_of_exchanges(ranks):
    """One in the forward and one in the backward, and only where the batch gives statistics."""
    for rank in ranks:
        assert rank['exchanges'] == {
            'training': (1, 1),
            'images': (1, 0),  # Nothing waits for the gradient of the input.
            'alone': (0, 0),
            'evaluation': (0, 0),
            'frozen': (0, 0),
            'untracked': (1, 1),
            'untracked in evaluation': (0, 0),
        }


def test_one_value_in_all_processes_is_refused_in_all(ranks):
    for rank, samples in zip_strict(ranks, (0, 1)):
        assert rank['one value'].startswith(
            'Expected more than 1 value per channel when training, got input size '
            f'({samples}, {C}, 1, 1)'
        )


def test_one_value_in_each_process_is_enough(ranks):
    x = torch.cat([random_maps((1, C, 1, 1), seed=seed) for seed in range(2)])
    torch.testing.assert_close(torch.cat([rank['two values'] for rank in ranks]), DNB(C)(x))


def test_no_value_in_any_process_changes_nothing(ranks):
    for mean, var, *gradients in (rank['nothing'] for rank in ranks):
        assert torch.equal(mean, torch.zeros(C)) and torch.equal(var, torch.ones(C))
        assert all(torch.equal(gradient, torch.zeros_like(gradient)) for gradient in gradients)


@pytest.mark.parametrize('sizes', SIZES)
def test_distributed_data_parallel(ranks, sizes):
    """Two steps on uneven batches equal those of one process, the buffers included."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        model(images(SIZES[sizes])).square().sum().backward()
        optimizer.step()
    for rank in ranks:
        state = rank['ddp'][sizes]
        assert state.keys() == model.state_dict().keys()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4, msg=name)
            assert torch.equal(state[name], ranks[0]['ddp'][sizes][name]), name


def test_second_derivative_of_the_reference(ranks):
    layer = randomize(DNB(C, r=4)).double()
    x = random_maps((4, C, 3, 3), torch.float64).requires_grad_()
    with use_path('reference'):
        (gradient,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    gradient.pow(2).sum().backward()
    assert_near(torch.cat([rank['second'] for rank in ranks]), x.grad, torch.float64)


def test_compiled_layer(ranks):
    for rank in ranks:
        compiled, eager = rank['compiled']
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-4)


def test_only_the_processes_of_a_group_share():
    ranks = run_together(sync_cases.run_in_groups, world=3)
    maps = [random_maps((1 + rank, C, 3, 3), seed=rank) for rank in range(3)]
    layer = DNB(C)
    shared = layer(torch.cat((maps[0], maps[2])))
    for rank, (output, var) in zip_strict((0, 2), (ranks[0], ranks[2])):
        torch.testing.assert_close(output, shared[:1] if rank == 0 else shared[1:])
        torch.testing.assert_close(var, layer.bn.running_var)
    assert torch.equal(ranks[1][0], DNB(C)(maps[1]))


def test_the_part_of_the_self_test():
    task = parts.Task('two processes', 'cpu', 'auto', 'float32', 'both')
    for result in run_together(compare_shared, task):
        assert result['wrong'] == '' and set(result['errors']) == set(parts.GROUPS)


def compare_shared(rank, task):
    return parts.compare_shared('gloo', task)
