"""Outputs that the backward makes anew: same bits, less kept, and what must not be replaced."""

import threading
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from dn_mmdet.layers import DNB
from dn_mmdet.ops import recompute_outputs, use_path
from dn_mmdet.ops.recompute import is_recomputing
from dn_mmdet.utils.python39 import zip_strict
from tests.helpers.library import NEEDS_LIBRARY
from tests.helpers.torch_versions import FLOAT16, needs_saved_tensors

SHAPE = (2, 8, 9, 7)
DTYPES = [torch.float32, torch.bfloat16, FLOAT16]
LAYOUTS = [torch.contiguous_format, torch.channels_last]


@pytest.fixture(params=['aten', pytest.param('cpp', marks=NEEDS_LIBRARY)], autouse=True)
def path(request):
    with use_path(request.param):
        yield request.param


def maps(dtype=torch.float32, layout=torch.contiguous_format, seed=0):
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    return x.mul(3).to(dtype).contiguous(memory_format=layout).requires_grad_()


def norm(activation='ReLU6'):
    torch.manual_seed(0)
    layer = DNB(8, r=2, activation=activation)
    nn.init.normal_(layer.sc.fc2_weight)
    nn.init.normal_(layer.lambda_offset, mean=2)
    return layer


def consumer(dtype=torch.float32):
    torch.manual_seed(1)
    return nn.Conv2d(8, 4, 3, dtype=dtype)


def kept_bytes(function):
    """Bytes of the maps that the graph of a function keeps, each storage once."""
    storages = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tensor.dim() == 4:
            storages[storage.data_ptr()] = (storage.nbytes(), storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = function()
    return sum(size for size, _ in storages.values()), result


@pytest.mark.parametrize('activation', [None, 'ReLU', 'ReLU6'])
@pytest.mark.parametrize('training', [True, False])
@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('dtype', DTYPES)
def test_same_bits(dtype, layout, training, activation):
    results = []
    for block in (nullcontext, recompute_outputs):
        layer, conv, x = norm(activation).train(training), consumer(dtype), maps(dtype, layout)
        with block():
            y = conv(layer(x))
        y.float().square().sum().backward()
        results.append([y, x.grad, *(p.grad for p in (*layer.parameters(), *conv.parameters()))])
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


@needs_saved_tensors
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_one_map_is_kept_in_place_of_two(dtype, path):
    size = maps(dtype).numel() * dtype.itemsize
    x, layer, conv = maps(dtype), norm(), consumer(dtype)
    weight = conv.weight.numel() * dtype.itemsize
    kept, _ = kept_bytes(lambda: conv(layer(x)))
    assert kept == 2 * size + weight

    def recomputing():
        with recompute_outputs():
            return conv(layer(x))

    # What the block replaces is not seen by hooks around it: count what lives.
    # The input that a node of the library keeps is not seen from Python.
    unseen = 1 if path == 'cpp' else 0
    assert _live_maps(recomputing) + unseen == 1
    assert _live_maps(lambda: conv(layer(x))) + unseen == 2


def _live_maps(function):
    """Storages of the size of the input that are alive because the graph is, the input included."""
    import gc

    gc.collect()
    result = function()
    seen, todo, found = set(), [result.grad_fn], {}
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        todo += [following for following, _ in node.next_functions]
        for name in dir(node):
            if name.startswith('_raw_saved_'):
                raw = getattr(node, name)
                for each in raw if isinstance(raw, (list, tuple)) else [raw]:
                    data = getattr(each, 'data', None)
                    if isinstance(data, torch.Tensor) and data.shape == SHAPE:
                        found[data.untyped_storage().data_ptr()] = data
    return len(found)


def test_two_consumers():
    results = []
    for block in (nullcontext, recompute_outputs):
        layer, first, second, x = norm(), consumer(), consumer(), maps()
        with block():
            y = layer(x)
            loss = first(y).square().sum() + (second(y) * 2).cos().sum() + y.pow(3).sum()
        loss.backward()
        results.append([x.grad, first.weight.grad, second.weight.grad, layer.sc.fc1_weight.grad])
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


def test_graph_kept_for_a_second_backward():
    layer, conv, x = norm(), consumer(), maps()
    with recompute_outputs():
        loss = conv(layer(x)).square().sum()
    leaves = [x, conv.weight]
    once = torch.autograd.grad(loss, leaves, retain_graph=True)
    assert all(torch.equal(*pair) for pair in zip_strict(once, torch.autograd.grad(loss, leaves)))


def test_output_changed_in_place_is_kept_as_changed():
    results = []
    for block in (nullcontext, recompute_outputs):
        layer, conv, x = norm(activation=None), consumer(), maps()
        with block():
            y = layer(x)
            y.mul_(2)
            conv(y).square().sum().backward()
        results.append([x.grad, conv.weight.grad])
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


def test_output_changed_after_it_was_used_is_refused_or_right():
    layer, conv, x = norm(), consumer(), maps()
    (expected,) = torch.autograd.grad(conv(layer(x)).sum(), [conv.weight])
    with recompute_outputs():
        y = layer(x)
        loss = conv(y).sum()
        with torch.no_grad():
            y.mul_(2)
    # Autograd would refuse; what is made anew is what the convolution saw.
    (found,) = torch.autograd.grad(loss, [conv.weight])
    assert torch.equal(found, expected)


def test_input_changed_in_place_is_refused():
    layer, conv, base = norm(), consumer(), maps()
    x = base * 1
    with recompute_outputs():
        loss = conv(layer(x)).sum()
    with torch.no_grad():
        x.add_(1)
    with pytest.raises(RuntimeError, match='modified by an inplace operation'):
        torch.autograd.grad(loss, [conv.weight])


def test_nested_blocks():
    results = []
    for block in (nullcontext, recompute_outputs):
        first, second, conv, x = norm(), norm(), consumer(), maps()
        with block():
            y = first(x)
            with block():
                z = second(y + 1)
                middle = F.conv2d(z, conv.weight)
            assert is_recomputing() == (block is recompute_outputs)
            loss = (conv(y) + middle).square().sum()
        loss.backward()
        results.append([x.grad, conv.weight.grad])
    assert not is_recomputing()
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


def test_a_block_ends_with_an_error():
    with pytest.raises(KeyError), recompute_outputs():
        raise KeyError
    assert not is_recomputing()
    x = maps()
    assert kept_bytes(lambda: consumer()(norm()(x)))[0] > 2 * x.numel() * 4


def test_other_threads_are_not_concerned():
    seen, inside, done = [], threading.Event(), threading.Event()

    def other():
        inside.wait(10)
        x = maps()
        seen.append(is_recomputing())
        seen.append(kept_bytes(lambda: consumer()(norm()(x)))[0] > 2 * x.numel() * 4)
        done.set()

    thread = threading.Thread(target=other)
    thread.start()
    with recompute_outputs():
        inside.set()
        assert done.wait(30) and is_recomputing()
    thread.join()
    assert seen == [False, True]


@pytest.mark.parametrize('use_reentrant', [True, False])
@pytest.mark.parametrize('inside', [True, False])
def test_gradient_checkpointing(inside, use_reentrant):
    results = []
    for block in (nullcontext, recompute_outputs):
        layer, conv, x = norm(), consumer(), maps()

        def run(x, layer=layer, conv=conv, block=block):
            with block() if inside else nullcontext():
                return conv(layer(x))

        with nullcontext() if inside else block():
            y = checkpoint(run, x, use_reentrant=use_reentrant)
        y.square().sum().backward()
        results.append([y, x.grad, conv.weight.grad, layer.sc.fc2_weight.grad])
    assert all(torch.equal(*pair) for pair in zip_strict(*results))


def test_without_gradients_nothing_is_offered():
    layer, x = norm(), maps()
    with recompute_outputs(), torch.no_grad():
        assert not layer(x).requires_grad
    with recompute_outputs(), torch.inference_mode():
        assert layer(x.detach()).isfinite().all()


def test_autocast():
    results = []
    for block in (nullcontext, recompute_outputs):
        layer, conv, x = norm(), consumer(), maps()
        with torch.autocast('cpu', dtype=torch.bfloat16), block():
            y = conv(layer(conv(F.pad(x, (2, 2, 2, 2))).repeat(1, 2, 1, 1)))
        assert y.dtype == torch.bfloat16
        y.float().square().sum().backward()
        results.append([y, x.grad, conv.weight.grad])
    assert all(torch.equal(*pair) for pair in zip_strict(*results))
