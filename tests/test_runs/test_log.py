import json

from dn_mmdet.runs.log import read_run_log


def write(folder, rows, tail=''):
    folder.mkdir(parents=True)
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)) + '\n' + tail)


def test_resumed_logs_are_merged_and_the_later_one_counts(tmp_path):
    write(
        tmp_path / '20260101_000000/vis_data',
        [
            dict(loss=3.0, iter=50, epoch=1, step=50),
            {'coco/bbox_mAP': 0.1, 'step': 1},
            {'coco/bbox_mAP': 0.2, 'step': 2},
        ],
        tail='{"coco/bbox_mAP": 0.3, "st',
    )
    write(
        tmp_path / '20260102_000000/vis_data',
        [
            {'coco/bbox_mAP': 0.25, 'step': 2},
            {'coco/bbox_mAP': 0.35, 'step': 3},
        ],
    )
    log = read_run_log(tmp_path)
    assert log.curve('coco/bbox_mAP') == ([1, 2, 3], [0.1, 0.25, 0.35])
    assert log.train == {50: dict(loss=3.0, iter=50, epoch=1, step=50)}


def test_a_folder_without_logs_is_empty(tmp_path):
    assert read_run_log(tmp_path).curve('coco/bbox_mAP') == ([], [])


def test_a_later_start_replaces_all_that_came_after_it(tmp_path):
    rows = [
        row
        for epoch in (1, 2, 3)
        for row in (
            dict(loss=1.0, iter=50 * epoch, epoch=epoch, step=50 * epoch),
            dict(m=0.1, step=epoch),
        )
    ]
    write(tmp_path / '20260101_000000/vis_data', rows)
    write(tmp_path / '20260102_000000/vis_data', [dict(loss=9.0, iter=100, epoch=2, step=100)])
    log = read_run_log(tmp_path)
    assert {step: row['loss'] for step, row in log.train.items()} == {50: 1.0, 100: 9.0}
    assert log.curve('m') == ([1], [0.1]) and len(log.starts) == 2 and not log.broken
