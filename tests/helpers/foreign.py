"""A MobileNetV2 or ResNet of mmdet under the names that mmpretrain, torchvision and Keras have."""

import torch
from torch import nn


def randomized(model, seed=0):
    """Give every BatchNorm values that matter."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -1, 1),
                (module.running_mean, -1, 1),
                (module.running_var, 0.5, 1.5),
            ):
                values.uniform_(low, high, generator=generator)
    model.eval()  # of mmdet's backbones it returns None
    return model


def blocks(state):
    """The inverted residuals of a MobileNetV2 in their order: (place, parts)."""
    found = {}
    for key in state:
        place, _, rest = key.rpartition('_conv.conv.')
        if rest == 'weight':
            stage, block, part = place.split('.')
            found.setdefault(f'{stage}.{block}', []).append(part)
    return list(found.items())


def renamed(state, table):
    """A state under other names; ``table`` has place to place."""
    places = {}
    for ours, theirs in table:
        places[ours] = theirs
    return {
        f'{places[place]}.{name}': value
        for key, value in state.items()
        for place, _, name in [key.rpartition('.')]
    }


def as_mmpretrain(state):
    table = [(f'{end}.{part}',) * 2 for end in ('conv1', 'conv2') for part in ('conv', 'bn')]
    for block, parts in blocks(state):
        for number, part in enumerate(parts):
            for kind in ('conv', 'bn'):
                table.append((f'{block}.{part}_conv.{kind}', f'{block}.conv.{number}.{kind}'))
    return {f'backbone.{key}': value for key, value in renamed(state, table).items()}


def as_torchvision(state):
    table = [('conv1.conv', 'features.0.0'), ('conv1.bn', 'features.0.1')]
    number = 0
    for number, (block, parts) in enumerate(blocks(state), 1):
        *activated, _ = parts
        place = f'features.{number}.conv'
        for i, part in enumerate(activated):
            table.append((f'{block}.{part}_conv.conv', f'{place}.{i}.0'))
            table.append((f'{block}.{part}_conv.bn', f'{place}.{i}.1'))
        table.append((f'{block}.linear_conv.conv', f'{place}.{len(activated)}'))
        table.append((f'{block}.linear_conv.bn', f'{place}.{len(activated) + 1}'))
    table += [('conv2.conv', f'features.{number + 1}.0'), ('conv2.bn', f'features.{number + 1}.1')]
    return renamed(state, table)


def as_keras(state):
    """Arrays of numpy as in Keras' MobileNetV2, with the group of a layer before its own name."""
    table = [('conv1.conv', 'Conv1'), ('conv1.bn', 'bn_Conv1')]
    for number, (block, parts) in enumerate(blocks(state)):
        start = f'block_{number}_' if number else 'expanded_conv_'
        for part in parts:
            name = start + ('project' if part == 'linear' else part)
            table.append((f'{block}.{part}_conv.conv', name))
            table.append((f'{block}.{part}_conv.bn', f'{name}_BN'))
    table += [('conv2.conv', 'Conv_1'), ('conv2.bn', 'Conv_1_bn')]
    return keras_arrays(renamed(state, table))


def as_keras_resnet(state):
    """As in Keras' ResNet50, where convolutions have a bias, which moves the mean."""
    table = [('conv1', 'conv1_conv'), ('bn1', 'conv1_bn')]
    for key in state:
        place, _, name = key.rpartition('.')
        if place.startswith('layer') and name == 'weight':
            stage, block, *rest = place.removeprefix('layer').split('.')
            start = f'conv{int(stage) + 1}_block{int(block) + 1}'
            if rest[0] == 'downsample':
                table.append((place, f'{start}_0_{"bn" if rest[1] == "1" else "conv"}'))
            else:
                table.append((place, f'{start}_{rest[0][-1]}_{rest[0][:-1]}'))
    given = renamed(state, table)
    biased = {}
    for name, value in given.items():
        biased[name] = value
        if value.dim() == 4:
            bias = torch.linspace(-1, 1, len(value))
            biased[name.replace('.weight', '.bias')] = bias
            mean = name.replace('_conv.weight', '_bn.running_mean')
            given[mean] = given[mean] + bias
    return keras_arrays({name: given.get(name, value) for name, value in biased.items()})


def keras_arrays(state):
    arrays = {}
    for key, value in state.items():
        layer, _, name = key.rpartition('.')
        if name == 'num_batches_tracked':
            continue
        value = value.numpy()
        if value.ndim == 4 and value.shape[1] == 1:
            name, value = 'depthwise_kernel', value.transpose(2, 3, 0, 1)
        elif value.ndim == 4:
            name, value = 'kernel', value.transpose(2, 3, 1, 0)
        elif layer.lower().endswith('bn') or layer.startswith('bn_'):
            name = {
                'weight': 'gamma',
                'bias': 'beta',
                'running_mean': 'moving_mean',
                'running_var': 'moving_variance',
            }[name]
        arrays[f'{layer}/{layer}/{name}:0'] = value
    return arrays
