"""What a tool prints and returns for a mistake, an interrupt and a bug."""

import pytest

from dn_mmdet.utils.errors import UserError, user_errors


@pytest.mark.parametrize(
    'error, status, line',
    [
        (UserError('It is wrong.'), 1, 'error: It is wrong.'),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (KeyboardInterrupt('go on with --resume'), 130, 'interrupted: go on with --resume'),
    ],
)
@pytest.mark.parametrize('rank', [None, '0', '1'])
def test_user_errors(error, status, line, rank, monkeypatch, capsys):
    monkeypatch.delenv('RANK', raising=False)
    if rank is not None:
        monkeypatch.setenv('RANK', rank)
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(SystemExit) as stop, user_errors():
        raise error
    assert stop.value.code == status
    # The launcher ends the others when the first has told it; who still lives then has it alone.
    told = f'{line} (process 1 of the run)\n' if status == 1 else ''
    assert capsys.readouterr().err == (told if rank == '1' else f'{line}\n')


def test_user_errors_let_bugs_through():
    with pytest.raises(ZeroDivisionError), user_errors():
        1 / 0  # noqa: B018
