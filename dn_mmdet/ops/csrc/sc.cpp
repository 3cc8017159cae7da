// The kernels of ../sc_aten.py for a CPU: the SC-Module on float numbers per sample and channel,
// (N, C), and what is made of its outputs. Products of matrices are ATen's.

#include <cmath>
#include <vector>

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>

#include "operators.h"
#include "sc.h"

namespace dn_mmdet {
namespace {

// What the SC-Module sees: the means, or (means - mean) * rstd.
Tensor context_of(
    const Tensor& means, const Tensor& mean, const Tensor& rstd, bool normalized) {
  return normalized ? at::sub(means, mean).mul_(rstd) : means;
}

// dout @ weight and dout^T @ hidden, group by group.
std::tuple<Tensor, Tensor> grouped_backward(
    const Tensor& dout, const Tensor& hidden, const Tensor& weight) {
  const int64_t inputs = weight.size(1), units = hidden.size(1), outputs = dout.size(1);
  if (inputs == units) return {at::mm(dout, weight), at::mm(dout.t(), hidden)};
  Tensor dhidden = at::zeros_like(hidden), dweight = at::zeros_like(weight);
  const float *g = dout.const_data_ptr<float>(), *h = hidden.const_data_ptr<float>();
  const float* w = weight.const_data_ptr<float>();
  float *dh = dhidden.mutable_data_ptr<float>(), *dw = dweight.mutable_data_ptr<float>();
  const int64_t share = outputs / (units / inputs);
  for (int64_t n = 0; n < dout.size(0); ++n, g += outputs, h += units, dh += units) {
    for (int64_t o = 0; o < outputs; ++o) {
      const int64_t first = o / share * inputs;
      for (int64_t i = 0; i < inputs; ++i) {
        dh[first + i] += g[o] * w[o * inputs + i];
        dw[o * inputs + i] += g[o] * h[first + i];
      }
    }
  }
  return {dhidden, dweight};
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> sc_forward(
    const Tensor& means, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized) {
  const ScModule sc(
      means.size(1), mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset,
      eps);
  const int64_t n = means.size(0), c = means.size(1);
  Tensor rstd = at::empty_like(mean);
  std::copy(sc.rstd.begin(), sc.rstd.end(), rstd.mutable_data_ptr<float>());
  Tensor hidden = at::addmm(
      sc.fc1_bias, context_of(means, sc.mean, rstd, normalized), sc.fc1_weight.t());
  float* units = hidden.mutable_data_ptr<float>();
  for (int64_t i = 0; i < hidden.numel(); ++i) units[i] = sigmoid(units[i]);
  Tensor delta;
  if (sc.groups == 1) {
    delta = at::mm(hidden, sc.fc2_weight.t());
  } else {
    delta = at::empty({n, 2 * c}, means.options());
    for (int64_t i = 0; i < n; ++i) {
      sc.second_layer(units + i * sc.units, delta.mutable_data_ptr<float>() + i * 2 * c);
    }
  }
  Tensor scale = at::empty_like(means), shift = at::empty_like(means);
  for (int64_t i = 0; i < n; ++i) {
    sc.affine(
        delta.const_data_ptr<float>() + i * 2 * c, scale.mutable_data_ptr<float>() + i * c,
        shift.mutable_data_ptr<float>() + i * c);
  }
  return {rstd, hidden, scale, shift};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> sc_backward(
    const Tensor& sums_, const Tensor& products_, const Tensor& means_, const Tensor& mean_,
    const Tensor& rstd_, const Tensor& hidden_, const Tensor& scale_, const Tensor& fc1_weight,
    const Tensor& fc2_weight, int64_t places, double count, bool normalized, bool detach_gap) {
  const Tensor sums = sums_.contiguous(), products = products_.contiguous();
  const Tensor means = means_.contiguous(), mean = mean_.contiguous(), rstd = rstd_.contiguous();
  const Tensor hidden = hidden_.contiguous(), scale = scale_.contiguous();
  const int64_t n = sums.size(0), c = sums.size(1), units = hidden.size(1);
  const float* r = rstd.const_data_ptr<float>();
  Tensor ddelta = at::empty({n, 2 * c}, sums.options());
  Tensor dalpha_offset = at::empty_like(rstd), dlambda_offset = at::empty_like(rstd);
  std::vector<double> t1(c), t2(c), total_alpha(c), total_lambda(c);
  for (int64_t i = 0; i < n; ++i) {
    float* d = ddelta.mutable_data_ptr<float>() + i * 2 * c;
    const float *s1 = sums.const_data_ptr<float>() + i * c,
                *s2 = products.const_data_ptr<float>() + i * c,
                *a = scale.const_data_ptr<float>() + i * c;
    for (int64_t k = 0; k < c; ++k) {
      const float dalpha = s2[k] * r[k];
      d[k] = dalpha;
      d[c + k] = s1[k];
      total_alpha[k] += dalpha;
      total_lambda[k] += s1[k];
      t1[k] += a[k] * s1[k];
      t2[k] += a[k] * dalpha;
    }
  }
  std::copy(total_alpha.begin(), total_alpha.end(), dalpha_offset.mutable_data_ptr<float>());
  std::copy(total_lambda.begin(), total_lambda.end(), dlambda_offset.mutable_data_ptr<float>());

  const Tensor context = context_of(means, mean, rstd, normalized);
  auto [dlogit, dfc2_weight] = grouped_backward(ddelta, hidden, fc2_weight.contiguous());
  Tensor dfc1_bias = at::empty({units}, sums.options());
  {
    float* d = dlogit.mutable_data_ptr<float>();
    const float* h = hidden.const_data_ptr<float>();
    std::vector<double> total(units);
    for (int64_t i = 0; i < n * units; ++i) {
      d[i] *= h[i] - h[i] * h[i];
      total[i % units] += d[i];
    }
    std::copy(total.begin(), total.end(), dfc1_bias.mutable_data_ptr<float>());
  }
  Tensor dfc1_weight = at::mm(dlogit.t(), context);

  Tensor offset = detach_gap ? at::zeros_like(means) : at::mm(dlogit, fc1_weight);
  Tensor slope = at::zeros_like(rstd);
  float *o = offset.mutable_data_ptr<float>(), *q = slope.mutable_data_ptr<float>();
  const float *m = mean.const_data_ptr<float>(), *seen = context.const_data_ptr<float>();
  if (normalized) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < c; ++k) {
        o[i * c + k] *= r[k];
        t1[k] += o[i * c + k];
        t2[k] += o[i * c + k] * seen[i * c + k];
      }
    }
  }
  std::vector<float> common(c);
  if (count > 0) {
    for (int64_t k = 0; k < c; ++k) {
      q[k] = static_cast<float>(-r[k] * t2[k] / count);
      common[k] = static_cast<float>(-t1[k] / count) - q[k] * m[k];
    }
  }
  const float share = 1 / static_cast<float>(places);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < c; ++k) o[i * c + k] = o[i * c + k] * share + common[k];
  }
  return {
      dfc1_weight, dfc1_bias, dfc2_weight, dalpha_offset, dlambda_offset, slope, offset};
}

}  // namespace dn_mmdet
