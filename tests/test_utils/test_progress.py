import sys

import pytest

from dn_mmdet.utils.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [0.0]
    monkeypatch.setattr('dn_mmdet.utils.progress.time.monotonic', lambda: now[0])
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: False)
    return now


def test_step_status_and_time_left(clock, capsys):
    progress = Progress(dict(one=100.0, two=300.0))
    one = progress.start('one')
    one.show(0.0, 'starts')
    clock[0] = 100
    one.show(0.5, 'epoch 1')
    clock[0] = 200
    one.finish()
    two = progress.start('two')
    clock[0] = 800
    two.show(1.0, 'epoch 9')
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        '[1/2] one  (6:40 left in total)',  # as the costs say
        # (100 s + 30 s) / (50 + 30) for each of 350.
        '[1/2] one: epoch 1  (9:29 left in total)',
        '[1/2] one: done (3:20)',
        '[2/2] two  (8:51 left in total)',
        '[2/2] two: epoch 9  (0:00 left in total)',
    ]


def test_steps_side_by_side_share_a_line_and_the_time(clock, capsys):
    progress = Progress(dict(zero=500.0, one=7200.0, two=7200.0), workers=2)
    progress.skip('zero', 'there already')
    steps = [progress.start('one'), progress.start('two')]
    steps[0].show(0.0, 'begins')
    clock[0] = 3600
    steps[0].show(0.5, 'half')
    steps[1].show(0.25, 'resumed here')  # nothing of it was done in this hour
    clock[0] = 7200
    steps[1].show(0.75, 'more')
    steps[0].finish('failed', whole=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == '[1/3] zero: there already'
    assert lines[2] == '[2/3] one | [3/3] two  (2:00:00 left in total)'
    # 7200 of cost were done here in as many seconds, and 3600 + 1800 are left; the first
    # guess, two at a time, still counts a little.
    assert lines[4] == '[2/3] one 50% | [3/3] two 75%  (1:29:38 left in total)'
    assert lines[5] == '[2/3] one: failed (2:00:00)'
    assert len(lines) == 6


def test_a_line_is_written_over_on_a_terminal_and_fits_it(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: True)
    monkeypatch.setenv('COLUMNS', '50')
    step = Progress(dict(one=60.0)).start('one')
    step.show(0.5, 'a status of many more than fifty letters, as they come')
    step.finish()
    shown = capsys.readouterr().out.split('\r\x1b[K')
    assert shown[2] == '[1/1] one: a status of many  (0:30 left in total)'
    assert len(shown[2]) == 49
    assert shown[3] == '[1/1] one: done (0:00)\n'
