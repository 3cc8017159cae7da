"""What processes of one group compute, each on its part of a batch."""

import os

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dn_mmdet.layers import DNB, DNC
from dn_mmdet.ops import dispatch, use_path
from dn_mmdet.ops.backends import cpp
from tests.helpers.layer_maps import random_maps, randomize

C, PLACES = 24, (5, 7)
PATHS = {
    'reference float64': ('reference', torch.float64),
    'aten float64': ('aten', torch.float64),
    'aten float32': ('aten', torch.float32),
    'aten bfloat16': ('aten', torch.bfloat16),
    # The layer calls its members one by one.
    'members float64': ('members', torch.float64),
    'dnc float64': ('dnc', torch.float64),
}
if os.environ.get('TRITON_INTERPRET') == '1':
    PATHS |= {'triton float32': ('triton', torch.float32)}
if not cpp.why_absent():
    PATHS |= {
        'cpp float32': ('cpp', torch.float32),
        'cpp bfloat16': ('cpp', torch.bfloat16),
    }
SIZES = {'3 and 5': (3, 5), '0 and 4': (0, 4)}
VARIANTS = {
    'raw': {'sc_input': 'raw'},
    'normalized': {'sc_input': 'normalized'},
    'conditioned': {'parameterization': 'conditioned', 'gain': 1.75},
    'no gradient at the input': {'sc_input': 'normalized', 'detach_gap': True},
    'ReLU6': {'activation': 'ReLU6', 'g': 'oup'},
    'channels_last': {'activation': 'ReLU', 'g': 2},
    'far from zero': {'sc_input': 'raw'},
}
NAMES = [
    (path, sizes, variant)
    for path in PATHS
    for sizes in SIZES
    for variant in (('raw', 'conditioned', 'channels_last') if path.startswith('dnc') else VARIANTS)
]


def make(path, sizes, variant):
    """The layer, the maps of all processes, the gradients of the outputs, and where to cut."""
    name, dtype = PATHS[path]
    mean = 100 if variant == 'far from zero' else 0
    if name == 'dnc':
        layer = DNC(
            C, r=4, g=2, sync=True, **(VARIANTS[variant] if variant == 'conditioned' else {})
        )
    else:
        layer = DNB(C, **({'r': 4} | VARIANTS[variant]), sync=True)
    layer = randomize(layer, mean).to(torch.promote_types(dtype, torch.float32))
    sizes = SIZES[sizes]
    shape, channels_last = (sum(sizes), C, *PLACES), variant == 'channels_last'
    x = random_maps(shape, dtype, channels_last, mean)
    return layer, x, random_maps(shape, dtype, channels_last, seed=2), sizes


def run(rank, case):
    """One training step of a layer on this process's part."""
    layer, x, dy, sizes = make(*case)
    path = PATHS[case[0]][0]
    if path == 'members':
        layer.sc.register_forward_hook(lambda *_: None)
    start = sum(sizes[:rank])
    part = slice(start, start + sizes[rank])
    x = x[part].requires_grad_()
    with use_path(path if path in dispatch.PATHS else 'auto'):
        y = layer(x)
        y.backward(dy[part])
    result = {'y': y.detach(), 'x': x.grad}
    result |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return result | dict(layer.bn.named_buffers())


def run_all(rank):
    """Every case; then what else is asked of a group."""
    results = {case: run(rank, case) for case in NAMES}
    return results | {
        'exchanges': count_exchanges(),
        'one value': refuse_one_value(rank),
        'two values': DNB(C, sync=True)(random_maps((1, C, 1, 1), seed=rank)).detach(),
        'nothing': run_on_nothing(),
        'ddp': {sizes: train(rank, SIZES[sizes]) for sizes in SIZES},
        'second': second_derivative(rank),
        'compiled': compiled(rank),
    }


def count_exchanges():
    """Collectives of the forward and the backward of a layer in several modes."""
    calls = []

    def counting(function):
        return lambda *args, **kwargs: calls.append(function) or function(*args, **kwargs)

    names = ('all_gather', 'all_gather_into_tensor', 'all_gather_single', 'all_reduce')
    originals = {name: getattr(dist, name) for name in names if hasattr(dist, name)}
    for name, original in originals.items():
        setattr(dist, name, counting(original))

    def counted(layer, **options):
        x = random_maps((2, C, 3, 3)).requires_grad_(options.pop('requires_grad', True))
        calls.clear()
        y = layer(x)
        forward = len(calls)
        y.sum().backward()
        return forward, len(calls) - forward

    frozen = DNB(C, sync=True)
    frozen.bn.eval()
    untracked = DNB(C, sync=True, track_running_stats=False)
    try:
        return {
            'training': counted(DNB(C, sync=True)),
            'images': counted(DNB(C, sync=True), requires_grad=False),
            'alone': counted(DNB(C)),
            'evaluation': counted(DNB(C, sync=True).eval()),
            'frozen': counted(frozen),
            'untracked': counted(untracked),
            'untracked in evaluation': counted(untracked.eval()),
        }
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def refuse_one_value(rank):
    """The sentence that each process gets if there is one value in all of them."""
    try:
        DNB(C, sync=True)(torch.zeros(rank, C, 1, 1))
    except ValueError as error:
        return str(error)


def run_on_nothing():
    layer = DNB(C, sync=True)
    x = torch.empty(0, C, 3, 3, requires_grad=True)
    layer(x).sum().backward()
    gradients = [parameter.grad for parameter in layer.parameters()]
    return layer.bn.running_mean, layer.bn.running_var, *gradients


def network(**options):
    torch.manual_seed(0)
    layers = []
    for inputs in (3, C, C):
        layers += [nn.Conv2d(inputs, C, 3), randomize(DNB(C, r=4, g='oup', **options))]
    return nn.Sequential(*layers)


def images(sizes):
    return random_maps((sum(sizes), 3, 9, 9))


def train(rank, sizes):
    """Two steps of a network, the loss summed over all samples."""
    # Buckets of a layer each, so that their exchanges come between those of the statistics.
    model = DistributedDataParallel(
        network(sync=True), bucket_cap_mb=0.001, broadcast_buffers=False
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    start = sum(sizes[:rank])
    x = images(sizes)[start : start + sizes[rank]]
    for _ in range(2):
        optimizer.zero_grad()
        # DistributedDataParallel takes the mean of the gradients.
        (dist.get_world_size() * model(x).square().sum()).backward()
        optimizer.step()
    return model.module.state_dict()


def second_derivative(rank):
    layer = randomize(DNB(C, r=4, sync=True)).double()
    x = random_maps((4, C, 3, 3), torch.float64)[2 * rank : 2 * rank + 2].requires_grad_()
    with use_path('reference'):
        (gradient,) = torch.autograd.grad(layer(x).pow(3).sum(), x, create_graph=True)
    gradient.pow(2).sum().backward()
    return x.grad


def compiled(rank):
    """Outputs and gradients of a compiled layer, and of the layer."""
    results = []
    for compile_layer in (True, False):
        layer = randomize(DNB(C, r=4, sync=True))
        x = random_maps((3 + rank, C, 3, 3), seed=rank).requires_grad_()
        y = (torch.compile(layer, backend='eager') if compile_layer else layer)(x)
        y.square().sum().backward()
        results.append([y.detach(), x.grad, layer.sc.fc1_weight.grad, layer.bn.running_var])
    return results


def run_in_groups(rank):
    """The output in a layer that ranks 0 and 2 share, and 1 does not."""
    group = dist.new_group([0, 2])
    layer = DNB(C, sync=True, process_group=group)
    return layer(random_maps((1 + rank, C, 3, 3), seed=rank)).detach(), layer.bn.running_var
