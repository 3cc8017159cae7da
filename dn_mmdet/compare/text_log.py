"""What a run's text log says beside the scalars: versions, the seed that was drawn, its death."""

import re

__all__ = ['died_of_nan', 'read_environment', 'read_revisions']

ENTRY = re.compile(r'    ([A-Za-z][\w .()/-]*): (.*)')
# As this package's and mmdet's hooks for invalid losses and mmdet's detectors say it.
NAN = re.compile(
    r'^.*(?:loss is [+-]?(?:nan|inf)|loss become infinite or NaN'
    r'|(?:is|are) (?:not finite|infinite or NaN)|holds NaN or infinite values).*$',
    re.MULTILINE | re.IGNORECASE,
)
# As tools/train.py logs it.
REVISION = re.compile(r'^.*\bgit revision: ([\w-]+)$', re.MULTILINE)
# The compiler's options say nothing that the version does not.
SKIPPED = ('PyTorch compiling details', 'mp_cfg', 'dist_cfg')


def read_environment(start):
    """The environment that mmengine wrote at the head of a start's log.

    Args:
        start (Path): folder of the start.

    Returns:
        dict[str, str]: 'PyTorch' to '2.13.0+cpu' and so on, 'seed' among them; empty without a
        log. A git revision is there where something logged it as an entry.
    """
    for file in sorted(start.glob('*.log')):
        found = {}
        inside = False
        for line in file.read_text(encoding='utf-8', errors='replace').splitlines():
            if line.startswith('System environment:'):
                inside = True
            elif inside and line.startswith('-----'):
                return found
            elif inside and (entry := ENTRY.fullmatch(line)) and entry[1] not in SKIPPED:
                found[entry[1]] = entry[2].strip()
    return {}


def read_revisions(starts):
    """The revisions of this package's repository that a run was made with.

    Args:
        starts (Sequence[Path]): folders of its starts.

    Returns:
        str: hashes, ', then ' between those of a run that was resumed with another; '' where no
        log tells one.
    """
    found = [
        match[1]
        for start in starts
        for file in sorted(start.glob('*.log'))
        if (match := REVISION.search(file.read_text(encoding='utf-8', errors='replace')))
    ]
    return ', then '.join(dict.fromkeys(found))


def died_of_nan(work_dir, last_start):
    """The line in which the logs of the last start tell of a loss that is not finite, or None.

    Args:
        work_dir (Path): of the run.
        last_start (Path): folder of the start that the last rows come from; one that began later
            and wrote no rows is looked at too, and so is a file beside it that caught its output.
    """
    logs = [
        file
        for start in sorted(work_dir.iterdir())
        if start.is_dir() and start.name >= last_start.name
        for file in sorted(start.glob('*.log'))
    ]
    for file in [*logs, *sorted(work_dir.glob('*.log'))]:
        text = file.read_text(encoding='utf-8', errors='replace')
        # A file in the work folder has what all starts printed: the last one counts.
        found = NAN.search(text, max(text.rfind('System environment:'), 0))
        if found:
            return re.sub(r'^.* - (?:INFO|WARNING|ERROR|CRITICAL) - ', '', found[0])
    return None
