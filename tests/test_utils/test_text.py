"""Tables and short lists."""

from dn_mmdet.utils.text import first_few, markdown_table


def test_a_table_is_aligned_markdown():
    assert markdown_table([['layer', 'n'], ['a', '10']]) == (
        '| layer | n  |\n|-------|----|\n| a     | 10 |'
    )


def test_first_few():
    assert first_few([]) == ''
    assert first_few(range(3)) == '0, 1, 2'
    assert first_few('abcde', limit=2) == 'a, b and 3 more'
