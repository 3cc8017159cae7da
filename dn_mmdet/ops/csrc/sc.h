// The SC-Module of one layer, sample by sample.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include "kernels.h"
#include "passes.h"

namespace dn_mmdet {
namespace {

DN_INLINE float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// Numbers of a vector: those of so many samples, or of a row.
constexpr int64_t kSamples = kWide;
// Products worth a thread.
constexpr int64_t kProducts = 1 << 18;

inline int64_t rows_worth_a_thread(int64_t products_of_a_row) {
  return std::max<int64_t>(kProducts / std::max<int64_t>(products_of_a_row, 1), 1);
}

// y[row] = sum over i of weight[row][i] x[i], for eight samples at once.
DN_KERNEL void weigh(
    const float* weight, int64_t rows, int64_t inputs, const Vector* x, Vector* y) {
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, weight += 4 * inputs) {
    const float *w1 = weight + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    for (int64_t i = 0; i < inputs; ++i) {
      const Vector v = x[i];
      s0 += weight[i] * v;
      s1 += w1[i] * v;
      s2 += w2[i] * v;
      s3 += w3[i] * v;
    }
    y[row] = s0, y[row + 1] = s1, y[row + 2] = s2, y[row + 3] = s3;
  }
  for (; row < rows; ++row, weight += inputs) {
    Vector sum = {};
    for (int64_t i = 0; i < inputs; ++i) sum += weight[i] * x[i];
    y[row] = sum;
  }
}

// The same for a single sample, whose inputs are the vectors.
DN_KERNEL void weigh_one(
    const float* weight, int64_t rows, int64_t inputs, const float* x, float* y) {
  const int64_t whole = inputs - inputs % kSamples;
  int64_t row = 0;
  for (; row + 4 <= rows; row += 4, weight += 4 * inputs) {
    const float *w1 = weight + inputs, *w2 = w1 + inputs, *w3 = w2 + inputs;
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    for (int64_t i = 0; i < whole; i += kSamples) {
      const Vector v = vector_at(x + i);
      s0 += vector_at(weight + i) * v;
      s1 += vector_at(w1 + i) * v;
      s2 += vector_at(w2 + i) * v;
      s3 += vector_at(w3 + i) * v;
    }
    float r0 = sum_of(s0), r1 = sum_of(s1), r2 = sum_of(s2), r3 = sum_of(s3);
    for (int64_t i = whole; i < inputs; ++i) {
      r0 += weight[i] * x[i];
      r1 += w1[i] * x[i];
      r2 += w2[i] * x[i];
      r3 += w3[i] * x[i];
    }
    y[row] = r0, y[row + 1] = r1, y[row + 2] = r2, y[row + 3] = r3;
  }
  for (; row < rows; ++row, weight += inputs) {
    Vector sum = {};
    for (int64_t i = 0; i < whole; i += kSamples) sum += vector_at(weight + i) * vector_at(x + i);
    float rest = sum_of(sum);
    for (int64_t i = whole; i < inputs; ++i) rest += weight[i] * x[i];
    y[row] = rest;
  }
}

inline bool fits(
    int64_t channels, int64_t units, const at::Tensor& fc1_weight, const at::Tensor& fc2_weight) {
  if (fc1_weight.dim() != 2 || fc2_weight.dim() != 2) return false;
  const int64_t inputs = fc2_weight.size(1), groups = inputs > 0 ? units / inputs : 0;
  return fc1_weight.size(0) == units && fc1_weight.size(1) == channels &&
      fc2_weight.size(0) == 2 * channels && groups > 0 && groups * inputs == units &&
      2 * channels % groups == 0;
}

struct ScModule {
  at::Tensor mean, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset;
  std::vector<float> rstd;
  int64_t channels, units, inputs, groups;
  ScForm form;

  ScModule(
      int64_t channels, const at::Tensor& mean, const at::Tensor& var,
      const at::Tensor& fc1_weight, const at::Tensor& fc1_bias, const at::Tensor& fc2_weight,
      const at::Tensor& alpha_offset, const at::Tensor& lambda_offset, double eps,
      const ScForm& form)
      : mean(mean.contiguous()),
        fc1_weight(fc1_weight.contiguous()),
        fc1_bias(fc1_bias.contiguous()),
        fc2_weight(fc2_weight.contiguous()),
        alpha_offset(alpha_offset.contiguous()),
        lambda_offset(lambda_offset.contiguous()),
        rstd(channels),
        channels(channels),
        form(form) {
    units = fc1_bias.numel();
    TORCH_CHECK(
        fits(channels, units, fc1_weight, fc2_weight), "expected weights of an SC-Module of ",
        channels, " channels, got sizes ", fc1_weight.sizes(), ", ", fc1_bias.sizes(), " and ",
        fc2_weight.sizes());
    inputs = fc2_weight.size(1);
    groups = units / inputs;
    for (const at::Tensor* each : {&mean, &var, &alpha_offset, &lambda_offset}) {
      TORCH_CHECK(
          each->numel() == channels, "expected ", channels, " numbers, one per channel, got ",
          each->numel());
    }
    for (const at::Tensor* each :
         {&mean, &var, &fc1_weight, &fc1_bias, &fc2_weight, &alpha_offset, &lambda_offset}) {
      TORCH_CHECK_TYPE(
          each->scalar_type() == at::kFloat && each->device().is_cpu(),
          "expected float32 numbers on the CPU, got ", each->scalar_type(), " on ",
          each->device());
    }
    const at::Tensor dense = var.contiguous();
    const float* variance = dense.const_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      rstd[c] = 1 / std::sqrt(variance[c] + static_cast<float>(eps));
    }
  }

  // From the means of samples to their hidden units, which may be null, scale and shift.
  void run_all(
      const float* means, int64_t samples, float* hidden, float* scale, float* shift) const {
    if (samples == 1) return run_one(means, hidden, scale, shift);
    for (int64_t n = 0; n < samples; n += kSamples) {
      run(means + n * channels, std::min(kSamples, samples - n),
          hidden ? hidden + n * units : nullptr, scale + n * channels, shift + n * channels);
    }
  }

  // The same for eight samples at most of several: each is added up as it would be among others,
  // so that no bit depends on which thread takes which. Rows of weights are shared among threads
  // where they are many.
  void run(
      const float* means, int64_t samples, float* hidden, float* scale, float* shift) const {
    std::vector<Vector> seen(channels), unit(units), delta(2 * channels);
    const float *m = mean.const_data_ptr<float>(), *b = fc1_bias.const_data_ptr<float>();
    for (int64_t n = 0; n < samples; ++n) {
      const float* of_sample = means + n * channels;
      for (int64_t c = 0; c < channels; ++c) {
        seen[c][n] = form.normalized ? (of_sample[c] - m[c]) * rstd[c] : of_sample[c];
      }
    }
    layer(weigh, fc1_weight, units, channels, seen.data(), unit.data());
    for (int64_t i = 0; i < units; ++i) {
      for (int64_t n = 0; n < samples; ++n) {
        unit[i][n] = sigmoid(form.fc1_scale * unit[i][n] + b[i]);
        if (hidden) hidden[n * units + i] = unit[i][n];
      }
    }
    layer(weigh, fc2_weight, 2 * channels / groups, inputs, unit.data(), delta.data());
    for (int64_t n = 0; n < samples; ++n) {
      finish(
          [&](int64_t i) { return delta[i][n]; }, scale + n * channels, shift + n * channels);
    }
  }

  // The same for a single sample, faster and with other roundings.
  void run_one(const float* means, float* hidden, float* scale, float* shift) const {
    std::vector<float> seen(form.normalized ? channels : 0), unit(units), delta(2 * channels);
    const float *m = mean.const_data_ptr<float>(), *b = fc1_bias.const_data_ptr<float>();
    if (form.normalized) {
      for (int64_t c = 0; c < channels; ++c) seen[c] = (means[c] - m[c]) * rstd[c];
      means = seen.data();
    }
    layer(weigh_one, fc1_weight, units, channels, means, unit.data());
    for (int64_t i = 0; i < units; ++i) unit[i] = sigmoid(form.fc1_scale * unit[i] + b[i]);
    if (hidden) std::copy(unit.begin(), unit.end(), hidden);
    layer(weigh_one, fc2_weight, 2 * channels / groups, inputs, unit.data(), delta.data());
    finish([&](int64_t i) { return delta[i]; }, scale, shift);
  }

 private:
  template <class Delta>
  void finish(const Delta& delta, float* scale, float* shift) const {
    const float *m = mean.const_data_ptr<float>(), *a = alpha_offset.const_data_ptr<float>(),
                *l = lambda_offset.const_data_ptr<float>();
    for (int64_t c = 0; c < channels; ++c) {
      const float factor = (form.fc2_scale * delta(c) + a[c]) * rstd[c];
      scale[c] = factor;
      shift[c] = form.fc2_scale * delta(channels + c) + l[c] - factor * m[c];
    }
  }

  // Groups of `rows` rows, each of which sees `columns` inputs of its own.
  template <class Number>
  static void layer(
      void (*weigh)(const float*, int64_t, int64_t, const Number*, Number*),
      const at::Tensor& weight, int64_t rows, int64_t columns, const Number* x, Number* y) {
    const float* w = weight.const_data_ptr<float>();
    at::parallel_for(
        0, weight.size(0), rows_worth_a_thread(columns * sizeof(Number) / sizeof(float)),
        [&](int64_t begin, int64_t end) {
          while (begin < end) {
            const int64_t group = begin / rows;
            const int64_t count = std::min(end, (group + 1) * rows) - begin;
            weigh(w + begin * columns, count, columns, x + group * columns, y + begin);
            begin += count;
          }
        });
  }
};

}  // namespace
}  // namespace dn_mmdet
