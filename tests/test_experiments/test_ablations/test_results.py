import pytest

from dn_mmdet.experiments.ablations.cells import AblationCell
from dn_mmdet.experiments.ablations.results import AblationResults
from dn_mmdet.utils.errors import UserError

BN, DNB = AblationCell(), AblationCell('DNB', r=16, g='oup', seed=1)
ROW = dict(test_batch_size=100, train=81.5, val=82.25, diverged_at=None, seconds=61.0)


def test_rows_come_back_as_they_were_added(tmp_path):
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    results.add(BN, [ROW, dict(ROW, test_batch_size=1, val=82.0)])
    results.add(DNB, [dict(ROW, train=None, val=None, diverged_at=17)])
    again = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    assert again.rows == results.rows and again.foreign == 0
    assert [row['val'] for row in again.of(BN)] == [82.25, 82.0]
    assert again.of(DNB)[0]['g'] == 'oup' and again.of(DNB)[0]['diverged_at'] == 17
    assert again.of_all([BN, DNB], test_batch=1)[0]['val'] == 82.0


def test_a_cell_is_finished_at_the_test_batch_sizes_it_was_asked_for(tmp_path):
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    assert not results.has(BN)
    results.add(BN, [ROW, dict(ROW, test_batch_size=1)])
    assert results.has(BN) and results.has(BN, (1,)) and not results.has(BN, (1, 2))
    results.add(DNB, [dict(ROW, val=None, diverged_at=3)])
    assert results.has(DNB, (1, 2))  # there is nothing to test


def test_a_cell_trained_again_replaces_its_rows(tmp_path):
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    results.add(BN, [ROW])
    results.add(BN, [dict(ROW, val=90.0), dict(ROW, test_batch_size=1)])
    assert [row['val'] for row in AblationResults(tmp_path / 'ablations.csv', 'recipe').of(BN)] == [
        90.0,
        82.25,
    ]


def test_rows_of_another_recipe_stay_and_do_not_count(tmp_path):
    AblationResults(tmp_path / 'ablations.csv', 'old recipe').add(BN, [ROW])
    results = AblationResults(tmp_path / 'ablations.csv', 'new recipe')
    assert results.rows == [] and not results.has(BN) and results.foreign == 1
    results.add(BN, [dict(ROW, val=1.0)])
    assert AblationResults(results.file, 'old recipe').of(BN)[0]['val'] == 82.25


def test_two_processes_lose_nothing_of_each_other(tmp_path):
    one, other = (AblationResults(tmp_path / 'ablations.csv', 'recipe') for _ in range(2))
    one.add(BN, [ROW])
    other.add(DNB, [ROW])
    one.add(BN, [dict(ROW, val=90.0)])
    assert one.has(DNB) and one.of(BN)[0]['val'] == 90.0 and len(one.rows) == 2


def test_a_column_of_somebody_stays(tmp_path):
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    results.add(BN, [ROW])
    head, row = results.file.read_text().splitlines()
    results.file.write_text(f'{head},remark\n{row},5\n')
    results = AblationResults(results.file, 'recipe')
    results.add(DNB, [ROW])
    assert [row['remark'] for row in results.rows] == [5, None]


@pytest.mark.parametrize('text', ['a,b\n1,2\n', 'norm;r\nBN;1\n', 'norm\n\xff\n'])
def test_another_file_is_refused(text, tmp_path):
    (tmp_path / 'ablations.csv').write_bytes(text.encode('latin1'))
    with pytest.raises(UserError, match=r'ablations.csv.*with --out'):
        AblationResults(tmp_path / 'ablations.csv', 'recipe')


def test_a_write_that_breaks_off_loses_nothing(tmp_path, monkeypatch):
    results = AblationResults(tmp_path / 'ablations.csv', 'recipe')
    results.add(BN, [ROW])
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        results.add(DNB, [ROW])
    assert AblationResults(tmp_path / 'ablations.csv', 'recipe').has(BN)
