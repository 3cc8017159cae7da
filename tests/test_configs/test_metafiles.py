"""The model index has what `mim search` reads, and its figures are those of docs/results."""

import csv
import re
from pathlib import Path
from statistics import mean, stdev

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).resolve().parents[2]
# Tables of runs, and of the second the folder that counts: DN-B with what is its default now.
RESULTS = {'compare.csv': None, 'variants/compare.csv': 'ssdlite_mbv2_dnb_digits_normalized'}
SEEDS = ('0', '1', '2')
# The paper's form, which no configuration of the digits has.
PAPERS = ('ssdlite_mbv2_dnb_digits', 'ssdlite_mbv2_dnb_g1_digits')
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())
METAFILES = [yaml.safe_load((ROOT / file).read_text()) for file in INDEX['Import']]
COLLECTIONS = [entry for file in METAFILES for entry in file['Collections']]
MODELS = [entry for file in METAFILES for entry in file['Models']]


def measured() -> dict[str, list[dict[str, str]]]:
    """Runs of each configuration."""
    runs = {}
    for table, only in RESULTS.items():
        with open(ROOT / 'docs/results/compare' / table, newline='') as file:
            for row in csv.DictReader(file):
                # work_dirs/compare/CONFIG/seed_N
                name = Path(row['work_dir']).parent.name
                counts = name == only or (only is None and name not in PAPERS)
                if counts and row['seed'] in SEEDS:
                    runs.setdefault(name.removesuffix('_normalized'), []).append(row)
    return runs


def test_the_index_has_every_metafile():
    found = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob('configs/**/metafile.yml'))
    assert found and INDEX['Import'] == found and len(INDEX) == 1


@pytest.mark.parametrize('entry', COLLECTIONS, ids=lambda entry: entry['Name'])
def test_a_collection_names_what_is_there(entry):
    assert set(entry) - {'Paper'} == {'Name', 'Metadata', 'README', 'Code'}
    for key in ('README', 'Code'):
        assert (ROOT / entry[key]).is_file()
    assert any(model['In Collection'] == entry['Name'] for model in MODELS)
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())['preferred-citation']
    if 'Paper' in entry:
        assert entry['Paper'] == dict(Title=citation['title'], URL=citation['url'])


@pytest.mark.parametrize('entry', MODELS, ids=lambda entry: entry['Name'])
def test_a_model_is_as_measured(entry):
    # No key `Weights`: there are none to fetch.
    assert set(entry) == {'Name', 'In Collection', 'Config', 'Metadata', 'Results'}
    assert entry['In Collection'] in [collection['Name'] for collection in COLLECTIONS]
    config = ROOT / entry['Config']
    assert config.is_file() and config.stem == entry['Name']
    runs = measured()[entry['Name']]
    assert entry['Metadata'] == {
        'Parameters': int(runs[0]['params']),
        'FLOPs': int(runs[0]['mult_adds']),
        'Epochs': int(runs[0]['epochs']),
        'Batch Size': Config.fromfile(config).train_dataloader.batch_size,
        'Seeds': ', '.join(run['seed'] for run in runs),
    }
    assert all(run['status'] == 'finished' for run in runs)
    ap, ap50, ap75 = (
        [100 * float(run[f'coco/bbox_mAP{kind}']) for run in runs] for kind in ('', '_50', '_75')
    )
    metrics = {
        'box AP': mean(ap),
        'box AP50': mean(ap50),
        'box AP75': mean(ap75),
        'box AP std': stdev(ap),
    }
    (result,) = entry['Results']
    assert (result['Task'], result['Dataset']) == ('Object Detection', 'Embedded digits')
    assert result['Metrics'] == {name: round(value, 1) for name, value in metrics.items()}


def test_every_measured_detector_is_in_the_index():
    assert sorted(measured()) == sorted(entry['Name'] for entry in MODELS)


def test_the_page_of_results_has_the_same_means():
    rows = re.findall(
        r'^\| (.*?) \|(?: [\d.]+ \|){3} ([\d.]+) ± ([\d.]+) \|',
        (ROOT / COLLECTIONS[0]['README']).read_text(),
        re.MULTILINE,
    )
    told = {(float(middle), float(spread)) for _, middle, spread in rows}
    metrics = [entry['Results'][0]['Metrics'] for entry in MODELS]
    assert len(told) == len(metrics) + len(PAPERS)
    for values in metrics:
        near = [
            abs(100 * middle - values['box AP']) < 0.06
            and abs(100 * spread - values['box AP std']) < 0.06
            for middle, spread in told
        ]
        assert sum(near) == 1
