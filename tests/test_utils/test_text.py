"""Tables and short lists."""

import argparse

import pytest

from dn_mmdet.utils.text import (
    HelpFormatter,
    error_line,
    first_few,
    markdown_table,
    whole_number,
)


def test_a_table_is_aligned_markdown():
    assert markdown_table([['layer', 'n'], ['a', '10']]) == (
        '| layer | n  |\n|-------|----|\n| a     | 10 |'
    )


def test_first_few():
    assert first_few([]) == ''
    assert first_few(range(3)) == '0, 1, 2'
    assert first_few('abcde', limit=2) == 'a, b and 3 more'
    assert first_few(['cat\n', 'dog ', 'a\u200b']) == r"'cat\n', dog , 'a\u200b'"


def test_an_error_in_a_line():
    assert error_line(ValueError('a\n  b')) == 'ValueError: a b'
    assert error_line(KeyError('no such key')) == 'KeyError: no such key'
    assert error_line(MemoryError()) == 'MemoryError'
    assert error_line(KeyError()) == 'KeyError'
    assert error_line(OSError('x' * 30), limit=5) == 'OSError: xxxxx ...'


def test_help_has_the_paragraphs_and_the_defaults_that_there_are():
    parser = argparse.ArgumentParser(description='One.\n\nTwo.', formatter_class=HelpFormatter)
    parser.add_argument('--size', type=int, default=0, help='pixels')
    parser.add_argument('--file', help='drawn next to it')
    parser.add_argument('--force', action='store_true', help='replace it')
    text = parser.format_help()
    assert 'One.\n\nTwo.\n' in text and 'pixels (default: 0)' in text
    assert 'None' not in text and 'False' not in text


@pytest.mark.parametrize(
    'bounds, text, words',
    [
        ((0,), '-1', "argument --n: '-1' is not a whole number, 0 or more"),
        ((1,), '0', "'0' is not a whole number, 1 or more"),
        ((0, 9), '10', "'10' is not a whole number, 0 to 9"),
        ((0,), '1.5', "'1.5' is not"),
        ((0,), '\u00b2', 'is not'),
    ],
)
def test_a_number_of_the_command_line(bounds, text, words, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--n', nargs='+', type=whole_number(*bounds))
    assert parser.parse_args(['--n', '1', '9']).n == [1, 9]
    with pytest.raises(SystemExit):
        parser.parse_args(['--n', text])
    assert words in capsys.readouterr().err
