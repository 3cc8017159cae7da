// The SC-Module of one layer, sample by sample.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels.h"

namespace dn_mmdet {
namespace {

DN_INLINE float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// rows times inputs @ inputs, and a bias.
DN_KERNEL void matvec(
    const float* weight, const float* bias, const float* x, int64_t rows, int64_t inputs,
    float* y) {
  for (int64_t row = 0; row < rows; ++row, weight += inputs) {
    const float start = bias ? bias[row] : 0;
    if (inputs < kLanes) {
      float sum = 0;
      for (int64_t i = 0; i < inputs; ++i) sum += weight[i] * x[i];
      y[row] = start + sum;
      continue;
    }
    y[row] = start + sum_pairs(inputs, [=](int64_t i) { return Pair{weight[i] * x[i], 0}; }).first;
  }
}

struct ScModule {
  at::Tensor mean, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset;
  std::vector<float> rstd;
  int64_t channels, units, inputs, groups;

  ScModule(
      int64_t channels, const at::Tensor& mean, const at::Tensor& var,
      const at::Tensor& fc1_weight, const at::Tensor& fc1_bias, const at::Tensor& fc2_weight,
      const at::Tensor& alpha_offset, const at::Tensor& lambda_offset, double eps)
      : mean(mean.contiguous()),
        fc1_weight(fc1_weight.contiguous()),
        fc1_bias(fc1_bias.contiguous()),
        fc2_weight(fc2_weight.contiguous()),
        alpha_offset(alpha_offset.contiguous()),
        lambda_offset(lambda_offset.contiguous()),
        rstd(channels),
        channels(channels) {
    TORCH_CHECK(
        fc1_weight.dim() == 2 && fc2_weight.dim() == 2, "expected weights of two dimensions");
    units = fc1_weight.size(0);
    inputs = fc2_weight.size(1);
    groups = inputs > 0 ? units / inputs : 0;
    const bool fits = fc1_weight.size(1) == channels && fc1_bias.numel() == units &&
        fc2_weight.size(0) == 2 * channels && groups > 0 && groups * inputs == units &&
        2 * channels % groups == 0;
    TORCH_CHECK(
        fits, "expected weights of an SC-Module of ", channels, " channels, got sizes ",
        fc1_weight.sizes(), ", ", fc1_bias.sizes(), " and ", fc2_weight.sizes());
    for (const at::Tensor& each : {mean, var, alpha_offset, lambda_offset}) {
      TORCH_CHECK(
          each.numel() == channels, "expected ", channels, " numbers, one per channel, got ",
          each.numel());
    }
    for (const at::Tensor& each :
         {mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset}) {
      TORCH_CHECK_TYPE(
          each.scalar_type() == at::kFloat && each.device().is_cpu(),
          "expected float32 numbers on the CPU, got ", each.scalar_type(), " on ", each.device());
    }
    const at::Tensor dense = var.contiguous();
    const float* variance = dense.const_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      rstd[c] = 1 / std::sqrt(variance[c] + static_cast<float>(eps));
    }
  }

  // From means to hidden units, one sample; `scratch` holds a number per channel.
  void first_layer(const float* means, bool normalized, float* scratch, float* hidden) const {
    if (normalized) {
      const float* m = mean.const_data_ptr<float>();
      for (int64_t c = 0; c < channels; ++c) scratch[c] = (means[c] - m[c]) * rstd[c];
      means = scratch;
    }
    matvec(
        fc1_weight.const_data_ptr<float>(), fc1_bias.const_data_ptr<float>(), means, units,
        channels, hidden);
    for (int64_t i = 0; i < units; ++i) hidden[i] = sigmoid(hidden[i]);
  }

  // From hidden units to the changes of alpha and lambda, one sample.
  void second_layer(const float* hidden, float* delta) const {
    const int64_t share = 2 * channels / groups;
    const float* weight = fc2_weight.const_data_ptr<float>();
    for (int64_t g = 0; g < groups; ++g) {
      matvec(
          weight + g * share * inputs, nullptr, hidden + g * inputs, share, inputs,
          delta + g * share);
    }
  }

  // Scale and shift of the affine map, one sample.
  void affine(const float* delta, float* scale, float* shift) const {
    const float *m = mean.const_data_ptr<float>(), *a = alpha_offset.const_data_ptr<float>(),
                *l = lambda_offset.const_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      scale[c] = (delta[c] + a[c]) * rstd[c];
      shift[c] = delta[channels + c] + l[c] - scale[c] * m[c];
    }
  }
};

}  // namespace
}  // namespace dn_mmdet
