import multiprocessing

import pytest
import torch
from mmengine.dataset import DefaultSampler
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

import dn_mmdet  # noqa: F401
from dn_mmdet.classification import ImageClassifier, ImageFolder, TopKAccuracy
from dn_mmdet.classification.accuracy import rank_of_class

BACKBONE = dict(
    type='MobileNetV2DN',
    widen_factor=0.25,
    out_indices=(7,),
    norm_cfg=dict(type='DNB', r=16, g='oup'),
)


def samples(labels):
    found = []
    for label in labels:
        found.append(BaseDataElement())
        found[-1].gt_label = label
    return found


def test_loss_is_the_smoothed_cross_entropy_of_the_scores():
    torch.manual_seed(0)
    model = ImageClassifier(BACKBONE, num_classes=5, in_channels=1280, label_smoothing=0.1).eval()
    x = torch.randn(3, 3, 32, 32)
    log = model(x).log_softmax(1)
    target = torch.full((3, 5), 0.1 / 5)
    target[range(3), [0, 4, 2]] += 0.9
    expected = -(target * log).sum(1).mean()
    torch.testing.assert_close(model(x, samples([0, 4, 2]), mode='loss')['loss'], expected)


def test_the_accuracy_of_a_training_batch_is_logged_and_no_part_of_the_objective():
    torch.manual_seed(0)
    model = ImageClassifier(BACKBONE, num_classes=5, in_channels=1280, topk=(1, 3)).eval()
    x = torch.randn(4, 3, 32, 32)
    order = model(x).argsort(dim=1, descending=True)
    # The right class stands first, second, third and last.
    right = order[range(4), [0, 1, 2, 4]].tolist()
    objective, logged = model.parse_losses(model(x, samples(right), mode='loss'))
    assert (logged['accuracy_top1'], logged['accuracy_top3']) == (25, 75)
    assert (
        objective
        == logged['loss']
        == torch.nn.functional.cross_entropy(model(x), torch.tensor(right))
    )


def test_predictions_are_probabilities_in_the_order_of_the_images():
    torch.manual_seed(0)
    model = ImageClassifier(BACKBONE, num_classes=5, in_channels=1280).eval()
    x = torch.randn(3, 3, 32, 32)
    results = model(x, samples([0, 1, 2]), mode='predict')
    torch.testing.assert_close(torch.stack([r.pred_score for r in results]), model(x).softmax(1))


@pytest.mark.parametrize(
    'norm', [dict(type='BN'), dict(type='DNB', r=16, g='oup')], ids=lambda norm: norm['type']
)
@pytest.mark.parametrize(
    'network, in_channels',
    [(BACKBONE, 1280), (dict(type='ResNetDN', depth=18, out_indices=(3,)), 512)],
    ids=['MobileNetV2DN', 'ResNetDN'],
)
def test_a_detector_takes_the_backbone_over_whole(network, in_channels, norm, tmp_path):
    network = network | dict(norm_cfg=norm)
    classifier = ImageClassifier(network, num_classes=5, in_channels=in_channels)
    for tensor in classifier.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
    torch.save(dict(state_dict=classifier.state_dict()), tmp_path / 'c.pth')
    backbone = MODELS.build(
        network
        | dict(
            init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'c.pth'), prefix='backbone.')
        )
    )
    backbone.init_weights()
    expected = classifier.backbone.state_dict()
    found = backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[k], expected[k]) for k in expected)


@pytest.mark.parametrize(
    'kwargs, words',
    [
        (dict(num_classes=1), 'num_classes must be 2 or more, but got 1'),
        (dict(num_classes=5, label_smoothing=1.0), 'label_smoothing must be in'),
        (dict(num_classes=5, topk=(1, 6)), r'between 1 and the 5 classes, but got \(1, 6\)'),
    ],
)
def test_bad_arguments_are_named(kwargs, words):
    with pytest.raises(ValueError, match=words):
        ImageClassifier(BACKBONE, in_channels=1280, **kwargs)


def test_unknown_mode_is_named():
    model = ImageClassifier(BACKBONE, num_classes=5, in_channels=1280).eval()
    with pytest.raises(ValueError, match="got 'losses'"):
        model(torch.zeros(1, 3, 32, 32), mode='losses')


def test_top_k_accuracy():
    metric = TopKAccuracy(topk=(1, 2))
    score = torch.tensor([0.1, 0.6, 0.3])
    metric.process({}, [dict(pred_score=score, gt_label=label) for label in (0, 1, 2, 1)])
    found = metric.evaluate(size=4)
    assert found == {'accuracy/top1': 50.0, 'accuracy/top2': 75.0}


def test_equal_scores_stand_in_the_order_of_the_classes():
    scores = torch.zeros(3, 3)
    assert rank_of_class(scores, torch.arange(3)).tolist() == [0, 1, 2]


def test_a_network_that_diverged_is_never_right():
    metric = TopKAccuracy(topk=(1, 3))
    score = torch.tensor([float('nan')] * 3)
    metric.process({}, [dict(pred_score=score, gt_label=label) for label in range(3)])
    assert metric.evaluate(size=3) == {'accuracy/top1': 0, 'accuracy/top3': 0}


def test_accuracy_of_named_classes():
    metric = TopKAccuracy(topk=(1,), classes=('b', 'nowhere'))
    metric.dataset_meta = dict(classes=('a', 'b', 'c'))
    score = torch.tensor([0.1, 0.6, 0.3])
    other = torch.tensor([0.5, 0.2, 0.3])
    metric.process(
        {},
        [
            dict(pred_score=s, gt_label=label)
            for s, label in ((score, 1), (score, 1), (score, 1), (other, 1), (score, 0))
        ],
    )
    assert metric.evaluate(size=5) == {'accuracy/top1': 60, 'accuracy/top1_b': 75}


def test_repeated_images_of_the_last_batch_are_cut_off():
    metric = TopKAccuracy(topk=(1,))
    score = torch.tensor([0.1, 0.9])
    metric.process({}, [dict(pred_score=score, gt_label=label) for label in (1, 1, 0)])
    assert metric.evaluate(size=2) == {'accuracy/top1': 100.0}


def _accuracy_of_one_process(rank, store, labels, results):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{store}', rank=rank, world_size=2
    )
    metric = TopKAccuracy(topk=(1, 2))
    for image in DefaultSampler(labels, shuffle=False, round_up=True):
        metric.process({}, [dict(pred_score=torch.tensor([0.1, 0.7, 0.2]), gt_label=labels[image])])
    results.put((rank, len(metric.results), metric.evaluate(size=len(labels))))
    torch.distributed.destroy_process_group()


def test_two_processes_count_every_image_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Five images on two processes: the sampler gives the second the first image once more.
    labels = [1, 0, 2, 0, 0]
    context = multiprocessing.get_context('fork')
    results = context.Queue()
    processes = [
        context.Process(
            target=_accuracy_of_one_process, args=(rank, tmp_path / 'store', labels, results)
        )
        for rank in (0, 1)
    ]
    for process in processes:
        process.start()
    found = sorted((results.get(timeout=60) for _ in processes), key=lambda item: item[0])
    for process in processes:
        process.join()
    expected = {'accuracy/top1': 20.0, 'accuracy/top2': 40.0}
    assert found == [(0, 3, expected), (1, 3, expected)]


def test_top_k_above_the_classes_is_named():
    metric = TopKAccuracy(topk=(1, 5))
    with pytest.raises(ValueError, match=r'topk=\(1, 5\) asks for more classes than the 3'):
        metric.process({}, [dict(pred_score=torch.rand(3), gt_label=0)])


@pytest.fixture
def folder(tmp_path):
    for name in ('b', 'a'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        (tmp_path / 'train' / name / '1.jpg').touch()
    (tmp_path / 'train' / 'a' / '0.PNG').touch()
    (tmp_path / 'train' / 'a' / 'notes.txt').touch()
    return tmp_path


def test_image_folder_lists_sorted_classes_and_images(folder):
    dataset = ImageFolder(data_root=str(folder), data_prefix=dict(img_path='train'))
    assert dataset.metainfo['classes'] == ('a', 'b')
    found = [
        (
            dataset.get_data_info(i)['img_path'].split('/train/')[1],
            dataset.get_data_info(i)['gt_label'],
        )
        for i in range(len(dataset))
    ]
    assert found == [('a/0.PNG', 0), ('a/1.jpg', 0), ('b/1.jpg', 1)]


def test_missing_folder_and_empty_class_are_named(folder):
    with pytest.raises(FileNotFoundError, match='no image folder .*nowhere'):
        ImageFolder(data_root=str(folder), data_prefix=dict(img_path='nowhere'))
    (folder / 'train' / 'c').mkdir()
    with pytest.raises(FileNotFoundError, match='class folder .*c holds no image'):
        ImageFolder(data_root=str(folder), data_prefix=dict(img_path='train'))
