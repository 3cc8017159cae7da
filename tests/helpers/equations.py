"""The layers in float64, written from the paper's equations and nothing else."""

import torch

EPS = 1e-5


def float64_copy(layer, x):
    """The layer's numbers and the input as float64 leaves."""
    numbers = {name: value.detach().double().clone() for name, value in layer.state_dict().items()}
    for name, _ in layer.named_parameters():
        numbers[name].requires_grad_()
    return numbers, x.detach().double().clone().requires_grad_()


def moments(x, numbers, batch):
    """Mean and variance to normalise with; the running ones follow in ``numbers``."""
    if not batch:
        return numbers['bn.running_mean'], numbers['bn.running_var']
    count = x.shape[0] * x.shape[2] * x.shape[3]
    mean = x.sum((0, 2, 3)) / count
    var = ((x - mean[:, None, None]) ** 2).sum((0, 2, 3)) / count
    for name, value in (('mean', mean), ('var', var * count / (count - 1))):
        old = numbers[f'bn.running_{name}']
        numbers[f'bn.running_{name}'] = 0.9 * old + 0.1 * value.detach()
    return mean, var


def dense_fc2(numbers):
    """The grouped weight (2C, g) as the block matrix (2C, H) that it stands for."""
    weight, hidden = numbers['sc.fc2_weight'], len(numbers['sc.fc1_bias'])
    outputs, inputs = weight.shape
    dense = torch.zeros(outputs, hidden, dtype=torch.float64)
    per_group = outputs * inputs // hidden
    for row in range(outputs):
        start = row // per_group * inputs
        dense[row, start : start + inputs] = weight[row]
    return dense


def first_layer(x, numbers, parameterization):
    """W1 x + b1, or W1 x / sqrt(C) + b1."""
    width = x.shape[-1] if parameterization == 'conditioned' else 1
    return x @ numbers['sc.fc1_weight'].T / width**0.5 + numbers['sc.fc1_bias']


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def dnb(
    x,
    numbers,
    batch=True,
    sc_input='normalized',
    detach_gap=False,
    parameterization='paper',
    gain=1.0,
):
    n, c, h, w = x.shape
    mean, var = moments(x, numbers, batch)
    std = torch.sqrt(var + EPS)
    g = x.sum((2, 3)) / (h * w)
    if sc_input == 'normalized':
        g = (g - mean) / std
    if detach_gap:
        g = g.detach()
    hidden = sigmoid(first_layer(g, numbers, parameterization))
    delta = gain * hidden @ dense_fc2(numbers).T
    alpha = delta[:, :c] + numbers['alpha_offset']
    shift = delta[:, c:] + numbers['lambda_offset']
    normalized = (x - mean[:, None, None]) / std[:, None, None]
    return normalized * alpha[:, :, None, None] + shift[:, :, None, None]


def dnc(x, numbers, batch=True, fuse='fc1', parameterization='paper', gain=1.0):
    c = x.shape[1]
    mean, var = moments(x, numbers, batch)
    std = torch.sqrt(var + EPS)
    logits = [first_layer(s, numbers, parameterization) for s in (mean, std)]
    if fuse == 'fc1':
        delta = gain * dense_fc2(numbers) @ sigmoid(logits[0] + logits[1])
    else:
        delta = gain * sum(dense_fc2(numbers) @ sigmoid(logit) for logit in logits)
    alpha = delta[:c] + numbers['alpha_offset']
    shift = delta[c:] + numbers['lambda_offset']
    normalized = (x - mean[:, None, None]) / std[:, None, None]
    return normalized * alpha[:, None, None] + shift[:, None, None]


def sample_norm(
    x, numbers, batch, groups, sc_input='raw', detach_gap=False, parameterization='paper', gain=1.0
):
    n, c, h, w = x.shape
    normalized = torch.empty_like(x)
    for channels in torch.arange(c).chunk(groups):
        count = len(channels) * h * w
        mean = x[:, channels].sum((1, 2, 3), keepdim=True) / count
        var = ((x[:, channels] - mean) ** 2).sum((1, 2, 3), keepdim=True) / count
        normalized[:, channels] = (x[:, channels] - mean) / torch.sqrt(var + EPS)
    context = x.sum((2, 3)) / (h * w)
    if detach_gap:
        context = context.detach()
    if sc_input == 'normalized':
        mean = context.sum(1, keepdim=True) / c
        var = ((context - mean) ** 2).sum(1, keepdim=True) / c
        context = (context - mean) / torch.sqrt(var + EPS)
    delta = gain * sigmoid(first_layer(context, numbers, parameterization)) @ dense_fc2(numbers).T
    alpha = delta[:, :c] + numbers['alpha_offset']
    shift = delta[:, c:] + numbers['lambda_offset']
    return normalized * alpha[:, :, None, None] + shift[:, :, None, None]


def se_bn(x, numbers, batch=True):
    g = x.sum((2, 3)) / (x.shape[2] * x.shape[3])
    hidden = (g @ numbers['fc1_weight'].T + numbers['fc1_bias']).clamp(min=0)
    gate = sigmoid(hidden @ numbers['fc2_weight'].T + numbers['fc2_bias'])
    weighted = x * gate[:, :, None, None]
    mean, var = moments(weighted, numbers, batch)
    normalized = (weighted - mean[:, None, None]) / torch.sqrt(var + EPS)[:, None, None]
    return normalized * numbers['bn.weight'][:, None, None] + numbers['bn.bias'][:, None, None]
