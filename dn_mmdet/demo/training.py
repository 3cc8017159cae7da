"""One training run of the demonstration: started, followed, and gone on with where it stopped."""

import hashlib
import json
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from mmengine.config import Config

from ..engine.atomic import atomic_write
from ..engine.errors import UserError
from ..paths import tools_root

__all__ = ['Training']

# mmengine's log line: "Epoch(train)  [2][ 50/187]  lr: ... eta: ... loss: 4.2 ...".
ITERATION = re.compile(r'Epoch\(train\)\s+\[(\d+)\]\[\s*(\d+)/(\d+)\].*?\bloss: ([\d.a-z]+)')
METRIC = re.compile(r'Epoch\(val\)\s.*?(coco/bbox_mAP|accuracy/top1): ([\d.]+)')
STAMP = 'demo.json'


@dataclass
class Training:
    """A run of ``tools/train.py`` in its own process, under the work folder of its config's name.

    Args:
        name (str): what the run is, for people.
        config (Path): configuration file.
        work_root (Path): the run's folder is made in this one.
        seed (int): of ``randomness``.
        after (tuple[Training, ...]): the runs whose checkpoints it loads.
    """

    name: str
    config: Path
    work_root: Path
    seed: int
    after: tuple = ()

    @property
    def work_dir(self):
        """Folder of the run."""
        return self.work_root / self.config.stem

    @property
    def epochs(self):
        """Number of epochs that the config asks for."""
        return Config.fromfile(self.config).train_cfg.max_epochs

    @property
    def checkpoint(self):
        """The last epoch's checkpoint. The best on val would have seen what it is judged on."""
        return self.work_dir / f'epoch_{self.epochs}.pth'

    @property
    def done(self):
        """Whether the run is whole: its last checkpoint is there and was written to the end."""
        pointer = self.work_dir / 'last_checkpoint'  # names it once it is written to the end
        return (self.checkpoint.is_file() and pointer.is_file()
                and Path(pointer.read_text().strip()).resolve() == self.checkpoint.resolve())

    def prepare(self):
        """Set a folder of another configuration, seed or data aside; return where it is now."""
        stamp = self.work_dir / STAMP
        moved = None
        if self.work_dir.exists():
            known = stamp.is_file() and json.loads(stamp.read_text()) == self.fingerprint()
            if not known:
                now = time.strftime('%Y%m%d_%H%M%S')
                moved = self.work_dir.with_name(f'{self.work_dir.name}.{now}')
                self.work_dir.rename(moved)
        if not stamp.is_file():
            with atomic_write(stamp) as file:
                file.write(json.dumps(self.fingerprint(), indent=1).encode())
        return moved

    def fingerprint(self):
        """What decides the result: the configuration, the seed, the data, the runs before."""
        config = Config.fromfile(self.config)
        data = Path('data/digits/digits.json')
        text = [config.pretty_text, data.read_text() if data.is_file() else '']
        text += [json.dumps(run.fingerprint()) for run in self.after]
        return dict(seed=self.seed, sha256=hashlib.sha256('\n'.join(text).encode()).hexdigest())

    def run(self, report):
        """Train to the last epoch, from the last checkpoint if there is one.

        Args:
            report (Callable[[float, str], None]): told the share done, 0 to 1, and how it stands.

        Raises:
            UserError: the process failed; the message ends with its last words.
        """
        log = self.work_dir / 'demo.log'
        command = [
            sys.executable, str(tools_root() / 'train.py'), str(self.config), '--work-dir',
            str(self.work_dir), '--resume', '--cfg-options', f'randomness.seed={self.seed}',
            *(f'model.backbone.init_cfg.checkpoint={run.checkpoint}' for run in self.after)
        ]
        with open(log, 'a', encoding='utf-8') as file:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                errors='replace')
            metric = ''
            epochs = self.epochs
            try:
                for line in process.stdout:
                    file.write(line)
                    file.flush()
                    if found := METRIC.search(line):
                        metric = f', {found[1].split("/")[1].removeprefix("bbox_")} {found[2]}'
                    if found := ITERATION.search(line):
                        epoch, step, steps, loss = found.groups()
                        share = (int(epoch) - 1 + int(step) / int(steps)) / epochs
                        report(share, f'epoch {epoch}/{epochs}, iteration {step}/{steps}, '
                                      f'loss {loss}{metric}')
            finally:
                # On Ctrl-C the child has the signal too: it is given the time to end.
                process.stdout.close()
                status = process.wait()
        if status or not self.done:
            last = ''.join(log.read_text(errors='replace').splitlines(keepends=True)[-5:])
            raise UserError(f'{self.name} ended with status {status}; the whole log is {log} and '
                            f'its last lines are:\n{last}')
