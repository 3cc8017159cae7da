"""The prediction for a GPU: what is launched, what limits it, and the table."""

import pytest
import torch

from dn_mmdet.benchmark import launches
from dn_mmdet.benchmark.launches import Usage, layer_launches, moved_bytes
from dn_mmdet.benchmark.models import prediction
from dn_mmdet.ops.backends import triton_launch
from dn_mmdet.ops.sc import SCWeights


@pytest.mark.parametrize(
    ('usage', 'resident'),
    [
        (Usage(32, 0, 0, 4), 16),  # All 64 warps.
        (Usage(96, 0, 0, 4), 5),  # Registers of 21 warps.
        (Usage(33, 0, 0, 4), 12),  # As many registers as 40.
        (Usage(32, 0, 56 * 2**10, 4), 4),  # Shared memory.
        (Usage(16, 0, 0, 1), 32),  # Blocks.
    ],
)
def test_resident_programs(usage, resident):
    assert usage.resident == resident


def layer(shape, dtype=torch.float32, units=3):
    n, c, *_ = shape
    sizes = [(units, c), (units,), (2 * c, units), (c,), (c,)]
    weights = SCWeights._make(torch.empty(size, device='meta') for size in sizes)
    return torch.empty(shape, dtype=dtype, device='meta'), weights


def test_a_layer_moves_its_maps_as_often_as_the_closed_form_says():
    x, weights = layer((4, 8, 64, 64), torch.bfloat16)
    training, evaluation = layer_launches(x, weights, (0.0, 6.0))
    size = x.numel() * 2
    assert len(training) == 5 and len(evaluation) == 2
    for found, maps in ((training, (1, 2, 2, 0, 3)), (evaluation, (1, 2))):
        for launch, times in zip(found, maps):
            # Besides the maps there are numbers per sample and channel.
            assert 0 <= moved_bytes(launch) - times * size < size / 20


def test_seconds_are_those_of_memory_or_of_what_is_on_the_way():
    card = prediction.Card('', 1e12, 100)
    gap, latency = prediction.GAP, prediction.LATENCY
    usage = Usage(32, 0, 0, 4)
    enough = prediction.Part('', [(10_000, 10**9, usage, 10**6), (0, 10**9, None, 0)])
    assert enough.seconds(card) == pytest.approx(2 * (gap + 1e-3))
    # One program on each of 100 processors, of 16.
    few = prediction.Part('', [(100, 10**9, usage, 1000)])
    assert few.seconds(card) == pytest.approx(gap + 1e9 * latency / (100 * 1000))


def test_norms_of_the_network():
    norms = prediction.trace_norms(2, 64, 'bfloat16', 'channels_last')
    assert len(norms) == 52 and sum(norm.activation == 'ReLU6' for norm in norms) == 35
    first, last = norms[0].x, norms[-1].x
    assert first.shape == (2, 32, 32, 32) and last.shape == (2, 1280, 2, 2)
    assert first.dtype == torch.bfloat16 and first.stride(1) == 1
    assert norms[-1].weights.fc1_weight.shape == (80, 1280)


def test_command(monkeypatch, capsys):
    pytest.importorskip('triton')
    compiled = []

    def compile_launch(launch, capability):
        compiled.append(launch)
        return launch

    usage = Usage(96, 8, 2048, 4)
    monkeypatch.setattr(prediction, 'compile_launch', compile_launch)
    monkeypatch.setattr(prediction, 'usage_of', lambda launch: usage)
    prediction.main(['--batch', '2', '--size', '64', '--dtype', 'bfloat16'])
    shown = capsys.readouterr()
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]]
        for cells in (line.strip('|').split('|') for line in shown.out.splitlines())
        if len(cells) == 10
    }
    assert rows['sums.products'][0] == '52' and rows['sums.products'][3:7] == ['96', '8', '2', '20']
    # The lines of both tables; those of evaluation, which come last, are left.
    assert rows['DN-B'][0] == '104' and rows['BN, ReLU6'][0] == str(52 + 35)
    assert len({launch.kernel for launch in compiled}) == 5
    assert len(compiled) < 5 * 52


def test_without_triton_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(triton_launch, 'why_absent', lambda: "No module named 'triton'")
    with pytest.raises(SystemExit) as stopped:
        prediction.main([])
    assert 'without Triton' in str(stopped.value) + capsys.readouterr().err


def test_registers_of_a_compiled_kernel():
    pytest.importorskip('triton.backends')
    x, weights = layer((2, 8, 8, 8))
    _, (_, affine) = layer_launches(x, weights, None)
    usage = launches.usage_of(launches.compile_launch(affine, 90))
    assert 16 <= usage.registers <= 255 and usage.spilled == 0
    assert usage.warps == affine.constants['num_warps'] and usage.resident >= 2
