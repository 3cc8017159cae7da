// What layer.cpp is made of, on numbers in memory: float, per plane (N, C) or per channel (C).
//
// A map x, and dy in its layout, is float, bfloat16 or half; `bounds` are those of the activation.
#pragma once

#include "operators.h"

namespace dn_mmdet {

// Means of the planes.
void means_pass(const Tensor& x, float* means);

// The same, and mean and biased variance of each channel.
void moments_pass(const Tensor& x, float* means, float* mean, float* var);

// y = clamp(x scale + shift).
void affine_pass(
    const Tensor& x, const float* scale, const float* shift, const Range& bounds,
    const Tensor& y);

// Sums of dy and of dy (x - mean) where the activation is open; scale and shift are read where
// there are bounds.
void products_pass(
    const Tensor& dy, const Tensor& x, const float* mean, const float* scale, const float* shift,
    const Range& bounds, float* sums, float* products);

// dx = dy scale + x slope + offset, with dy where the activation is open.
void gradient_pass(
    const Tensor& dy, const Tensor& x, const float* scale, const float* slope,
    const float* offset, const float* shift, const Range& bounds, Tensor& dx);

// How the weights of the SC-Module enter.
struct ScForm {
  bool normalized;
  float fc1_scale, fc2_scale;

  ScForm(bool normalized, double fc1_scale, double fc2_scale)
      : normalized(normalized),
        fc1_scale(static_cast<float>(fc1_scale)),
        fc2_scale(static_cast<float>(fc2_scale)) {}
};

struct ScSizes {
  int64_t samples, channels, units, inputs;

  int64_t groups() const { return units / inputs; }
};

// What the backward is given, and what it writes.
struct ScKnown {
  const float *sums, *products, *means, *mean, *rstd, *hidden, *scale, *fc1_weight, *fc2_weight;
};

struct ScWanted {
  float *fc1_weight, *fc1_bias, *fc2_weight, *alpha_offset, *lambda_offset, *slope, *offset;
};

// All gradients but that of the map; `count` is 0 where statistics are frozen.
void sc_backward_pass(
    const ScSizes& sizes, const ScKnown& known, int64_t places, double count, const ScForm& form,
    bool detach_gap, const ScWanted& wanted);

}  // namespace dn_mmdet
