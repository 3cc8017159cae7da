from dn_mmdet.analysis import Complexity
from dn_mmdet.experiments.demo import METRICS, results_table


def test_table_holds_every_metric_and_the_ratio():
    rows = {
        name: dict(
            metrics=dict.fromkeys(METRICS.values(), value),
            complexity=Complexity(1_234_567, 98_765_432),
            seconds=seconds,
        )
        for name, value, seconds in (('BN', 0.41, 0.5), ('DN-B', 0.47, 0.6))
    }
    text = results_table(rows)
    head, rule, bn, dnb = text.splitlines()
    assert [c.strip() for c in head.split('|')[1:-1]] == [
        'norm',
        'mAP',
        'mAP50',
        'mAP75',
        'small',
        'medium',
        'large',
        '#p',
        'Mult-Adds',
        's/iter',
    ]
    assert [c.strip() for c in dnb.split('|')[1:-1]] == [
        'DN-B',
        *['0.470'] * 6,
        '1.23M',
        '98.8M',
        '1.20 x',
    ]
    assert '1.00 x' in bn
    assert len({len(line) for line in (head, rule, bn, dnb)}) == 1
