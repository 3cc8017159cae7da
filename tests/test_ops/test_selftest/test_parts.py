"""What the parts compare, what a broken path makes of the page and of the exit status."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from dn_mmdet.ops import selftest, trust
from dn_mmdet.ops.backends import KERNELS, aten, cpp
from dn_mmdet.ops.selftest import __main__ as command
from dn_mmdet.ops.selftest import apart, parts, shared
from dn_mmdet.ops.selftest.parts import Task
from dn_mmdet.ops.small_maps import LAYOUTS
from tests.helpers.library import NEEDS_LIBRARY

PATHS = [
    ('reference', 'float64'),
    ('reference', 'float16'),
    ('aten', 'bfloat16'),
    ('aten', 'float64'),
    pytest.param('cpp', 'float32', marks=NEEDS_LIBRARY),
]


@pytest.mark.parametrize(('path', 'dtype'), PATHS)
def test_numbers(path, dtype):
    for layout in LAYOUTS:
        result = parts.run_part(Task('numbers', 'cpu', path, dtype, layout))
        assert result['wrong'] == '' and set(result['errors']) == set(parts.GROUPS)


@NEEDS_LIBRARY
def test_same_bits(monkeypatch):
    task = Task('same bits twice', 'cpu', 'cpp', 'float32', 'contiguous')
    assert parts.run_part(task)['wrong'] == ''
    calls = []

    def layer(*args):
        calls.append(None)
        return cpp.layer(*args) * (1 + 1e-6 * (len(calls) % 2))

    monkeypatch.setitem(KERNELS, 'cpp', broken(cpp, layer=layer))
    assert 'output in training differs' in parts.run_part(task)['wrong']


def test_results_of_two_processes_are_put_together(monkeypatch):
    # Of one process alone, as if the other had found nothing.
    monkeypatch.setattr(shared.dist, 'get_rank', lambda: 1)
    monkeypatch.setattr(shared.dist, 'all_reduce', lambda tensor: None)
    task = Task('numbers', 'cpu', 'auto', 'float32', 'contiguous')
    assert parts._compare(task, shared.run_shared)['wrong']


def test_a_graph_is_recorded_with_other_numbers(monkeypatch):
    """With what a GPU would do done here: recorded once, and run again when it is played."""
    recorded = []

    def run_operator(*asked):
        results = run(*asked)
        recorded.append((asked, results))
        return results

    class Graph:
        def replay(self):
            asked, results = recorded[-1]
            for name, tensor in run(*asked).items():
                results[name].data.copy_(tensor)

    stream = SimpleNamespace(wait_stream=lambda other: None)
    run = parts.run_operator
    monkeypatch.setattr(parts, 'run_operator', run_operator)
    for name, stand_in in (
        ('Stream', lambda: stream), ('current_stream', lambda: stream), ('CUDAGraph', Graph),
        ('stream', lambda stream: nullcontext()), ('graph', lambda graph: nullcontext()),
    ):  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    task = Task('CUDA graph', 'cpu', 'aten', 'float32', 'channels_last')
    assert parts.run_part(task)['wrong'] == '' and len(recorded) == 12
    monkeypatch.setattr(Graph, 'replay', lambda self: None)
    assert parts.run_part(task)['wrong']


TASKS = [
    Task(part, 'cpu', path, 'float32', 'contiguous')
    for part, path in (('numbers', 'aten'), ('numbers', 'cpp'), ('choice', 'auto'))
]


@pytest.fixture
def short(monkeypatch):
    """Three parts, in processes that see what is patched here."""
    monkeypatch.setattr(apart, 'METHOD', 'fork')
    monkeypatch.setattr(trust, '_trusted', {})
    monkeypatch.setattr(trust, '_warned', set())
    monkeypatch.setattr('sys.argv', ['selftest'])
    monkeypatch.delenv('DN_MMDET_OPS', raising=False)
    monkeypatch.delenv('DN_MMDET_CHECK_KERNELS', raising=False)
    absent = Task('numbers', 'cpu', 'triton', 'float32', 'both'), 'runs on NVIDIA GPUs'
    monkeypatch.setattr(parts, '_plan', lambda: (TASKS, [absent]))


def broken(module, **kernels):
    return SimpleNamespace(**{name: getattr(module, name) for name in module.__all__} | kernels)


@NEEDS_LIBRARY
def test_the_page(short, capsys):
    assert command.main() == 0
    out, err = capsys.readouterr()
    assert '[2/3] numbers cpu cpp float32 contiguous' in err
    assert f'torch {torch.__version__}' in out and 'C++ operators: there' in out
    rows = [line for line in out.splitlines() if line.startswith('| cpu')]
    assert ['aten' in rows[0], '* cpp' in rows[1], len(rows)] == [True, True, 2]
    assert all(row.endswith('right  |') for row in rows)
    assert 'cpu triton: runs on NVIDIA GPUs' in out
    assert out.endswith('The paths that would serve are right.\n')


@NEEDS_LIBRARY
@pytest.mark.parametrize('check', ['on', 'off'])
def test_what_is_wrong_and_serves_decides(check, short, monkeypatch, capsys):
    def layer_backward(*args):
        dx, *others = cpp.layer_backward(*args)
        return dx * float('nan'), *others

    def layer(x, *args):
        y = cpp.layer(x, *args)
        y.requires_grad and x.register_hook(lambda dx: dx * float('nan'))
        return y

    wrong = broken(cpp, layer_backward=layer_backward, layer=layer)
    monkeypatch.setitem(KERNELS, 'cpp', wrong)
    monkeypatch.setenv('DN_MMDET_CHECK_KERNELS', check)
    assert command.main() == (check == 'off')
    out = capsys.readouterr().out
    aten_row, cpp_row = (line for line in out.splitlines() if line.startswith('| cpu'))
    assert ('* aten' in aten_row) == (check == 'on') and 'right' in aten_row
    assert ('* cpp' in cpp_row) == (check == 'off') and 'FAILED' in cpp_row and 'nan' in cpp_row
    assert '- numbers cpu cpp float32 contiguous: gradient of x in training is off by nan' in out
    assert ('WRONG: 1 of the checks' in out) == (check == 'off')


def test_a_choice_that_fails_counts(short, monkeypatch, capsys):
    monkeypatch.setenv('DN_MMDET_OPS', 'abacus')
    assert command.main() == 1
    assert "must be one of auto, reference, aten, cpp, triton, got 'abacus'" in (
        capsys.readouterr().out
    )


def test_the_plan_of_this_machine(monkeypatch):
    tasks, skipped = parts._plan()
    seen = {(t.path, t.dtype, t.layout) for t in tasks if t.part == 'numbers' and t.device == 'cpu'}
    floats = {'float32', 'bfloat16', 'float16'}
    for path in ('reference', 'aten'):
        assert {each[1:] for each in seen if each[0] == path} == {
            (dtype, layout) for dtype in (*floats, 'float64') for layout in LAYOUTS
        }
    assert ('cpp' in {each[0] for each in seen}) == (not cpp.why_absent())
    left_out = {task.path for task, _ in skipped}
    assert 'triton' in left_out or 'triton' in {each[0] for each in seen}
    assert sum(task.part == 'choice' and task.device == 'cpu' for task in tasks) == 8
    assert all(task.part in parts.PARTS for task in tasks)


def test_what_cuda_asks_of_the_sums(monkeypatch):
    # There the saved statistics must be there, and the weight's dtype is that of the sums.
    given = []

    def record(*args):
        given.append(args)
        return backward(*args)

    backward = aten._batch_norm_backward
    monkeypatch.setattr(aten, '_batch_norm_backward', record)
    x = torch.ones(2, 3, 4, 5)
    aten.plane_products(x, x, torch.zeros(3))
    aten.plane_moments(x)
    assert len(given) == 2
    assert all(isinstance(value, torch.Tensor) for args in given for value in args[:7])


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA GPU')
def test_all_on_a_gpu(monkeypatch, tmp_path):
    monkeypatch.setenv('DN_MMDET_CACHE_DIR', str(tmp_path))
    rows = selftest.run_all(print)
    assert [row for row in rows if row.status == 'FAILED'] == []
