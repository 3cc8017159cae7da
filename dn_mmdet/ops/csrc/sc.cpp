// The kernels of ../sc.py for a CPU: the SC-Module on float numbers per sample and channel,
// (N, C), and what is made of its outputs. The matrices are small: calls of a library, which wakes
// threads for them, would take longer than the products.

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/zeros_like.h>

#include "operators.h"
#include "sc.h"

namespace dn_mmdet {
namespace {

// y[column] = sum over i of weight[i][column] x[i], for eight samples at once.
DN_KERNEL void weigh_back(
    const float* weight, int64_t pitch, int64_t columns, int64_t inputs, const Vector* x,
    Vector* y) {
  int64_t column = 0;
  for (; column + 4 <= columns; column += 4) {
    const float* w = weight + column;
    Vector s0 = {}, s1 = {}, s2 = {}, s3 = {};
    for (int64_t i = 0; i < inputs; ++i, w += pitch) {
      const Vector v = x[i];
      s0 += w[0] * v;
      s1 += w[1] * v;
      s2 += w[2] * v;
      s3 += w[3] * v;
    }
    y[column] = s0, y[column + 1] = s1, y[column + 2] = s2, y[column + 3] = s3;
  }
  for (; column < columns; ++column) {
    Vector sum = {};
    for (int64_t i = 0; i < inputs; ++i) sum += weight[i * pitch + column] * x[i];
    y[column] = sum;
  }
}

// out[row] = scale times the sum over n of factors[n][row] x[n], of `size` numbers; `x` is padded
// to `pitch`.
DN_KERNEL void outer(
    const float* factors, int64_t stride, const float* x, int64_t pitch, int64_t samples,
    int64_t rows, int64_t size, float scale, float* out) {
  for (int64_t row = 0; row < rows; ++row, out += size) {
    for (int64_t start = 0; start < size; start += kSamples) {
      Vector sum = {};
      for (int64_t n = 0; n < samples; ++n) {
        sum += factors[n * stride + row] * *reinterpret_cast<const Vector*>(x + n * pitch + start);
      }
      sum *= scale;
      if (size - start >= kSamples) {
        *reinterpret_cast<Vector*>(out + start) = sum;
      } else {
        for (int64_t i = start; i < size; ++i) out[i] = sum[i - start];
      }
    }
  }
}

// Rows of `size` numbers with zeros behind them, to whole vectors.
struct Padded {
  int64_t pitch;
  std::vector<float> numbers;

  Padded(const float* rows, int64_t count, int64_t size)
      : pitch((size + kSamples - 1) / kSamples * kSamples), numbers(count * pitch) {
    for (int64_t i = 0; i < count; ++i) std::copy_n(rows + i * size, size, &numbers[i * pitch]);
  }
};

// The gradient of a weight whose products with its inputs are scaled: those of the gradients of
// its outputs and its inputs, summed over samples. Each group of rows sees inputs of its own.
Tensor weight_gradient(
    const Tensor& dout, const Tensor& seen, const Tensor& weight, int64_t groups, float scale) {
  const int64_t n = dout.size(0), outputs = dout.size(1), size = weight.size(1);
  const int64_t share = outputs / groups;
  Tensor gradient = at::empty({outputs, size}, dout.options());
  float* out = gradient.mutable_data_ptr<float>();
  const float *factors = dout.const_data_ptr<float>(), *x = seen.const_data_ptr<float>();
  if (groups > 1) {
    for (int64_t row = 0; row < outputs; ++row) {
      for (int64_t i = 0; i < size; ++i) {
        float sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          sum += factors[k * outputs + row] * x[k * seen.size(1) + row / share * size + i];
        }
        out[row * size + i] = scale * sum;
      }
    }
    return gradient;
  }
  const Padded rows(x, n, size);
  at::parallel_for(0, outputs, rows_worth_a_thread(n * size), [&](int64_t begin, int64_t end) {
    outer(
        factors + begin, outputs, rows.numbers.data(), rows.pitch, n, end - begin, size,
        scale, out + begin * size);
  });
  return gradient;
}

// scale * dout @ weight, group by group.
Tensor input_gradient(
    const Tensor& dout, const Tensor& weight, int64_t groups, float scale) {
  const int64_t samples = dout.size(0), outputs = dout.size(1), inputs = weight.size(1);
  const int64_t share = outputs / groups, columns = groups * inputs;
  Tensor dinput = at::empty({samples, columns}, dout.options());
  const float *g = dout.const_data_ptr<float>(), *w = weight.const_data_ptr<float>();
  float* out = dinput.mutable_data_ptr<float>();
  std::vector<Vector> x(outputs), y(columns);
  for (int64_t first = 0; first < samples; first += kSamples) {
    const int64_t count = std::min(kSamples, samples - first);
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t i = 0; i < outputs; ++i) x[i][n] = g[(first + n) * outputs + i];
    }
    for (int64_t group = 0; group < groups; ++group) {
      const float* block = w + group * share * inputs;
      at::parallel_for(
          0, inputs, rows_worth_a_thread(share * kSamples), [&](int64_t begin, int64_t end) {
            weigh_back(
                block + begin, inputs, end - begin, share, x.data() + group * share,
                y.data() + group * inputs + begin);
          });
    }
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t i = 0; i < columns; ++i) out[(first + n) * columns + i] = scale * y[i][n];
    }
  }
  return dinput;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> sc_forward(
    const Tensor& means_, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale,
    double fc2_scale) {
  const Tensor means = means_.contiguous();
  const int64_t n = means.size(0), c = means.size(1);
  const ScModule sc(
      c, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps, normalized,
      fc1_scale, fc2_scale);
  Tensor rstd = at::empty({c}, means.options()), hidden = at::empty({n, sc.units}, means.options());
  std::copy(sc.rstd.begin(), sc.rstd.end(), rstd.mutable_data_ptr<float>());
  Tensor scale = at::empty_like(means), shift = at::empty_like(means);
  for (int64_t i = 0; i < n; i += kSamples) {
    sc.run(
        means.const_data_ptr<float>() + i * c, std::min(kSamples, n - i),
        hidden.mutable_data_ptr<float>() + i * sc.units, scale.mutable_data_ptr<float>() + i * c,
        shift.mutable_data_ptr<float>() + i * c);
  }
  return {rstd, hidden, scale, shift};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> sc_backward(
    const Tensor& sums_, const Tensor& products_, const Tensor& means_, const Tensor& mean_,
    const Tensor& rstd_, const Tensor& hidden_, const Tensor& scale_, const Tensor& fc1_weight,
    const Tensor& fc2_weight, int64_t places, double count, bool normalized, double fc1_scale_,
    double fc2_scale_, bool detach_gap) {
  const int64_t given_units = hidden_.dim() == 2 ? hidden_.size(1) : -1;
  for (const Tensor& each : {sums_, products_, means_, scale_}) {
    TORCH_CHECK(
        each.dim() == 2 && each.sizes() == means_.sizes(),
        "expected numbers per sample and channel of size ", means_.sizes(), ", got size ",
        each.sizes());
  }
  for (const Tensor& each : {mean_, rstd_}) {
    TORCH_CHECK(
        each.dim() == 1 && each.size(0) == means_.size(1), "expected ", means_.size(1),
        " numbers, one per channel, got size ", each.sizes());
  }
  TORCH_CHECK(
      given_units >= 0 && hidden_.size(0) == means_.size(0) &&
          fits(means_.size(1), given_units, fc1_weight, fc2_weight),
      "expected hidden units and weights of an SC-Module of ", means_.size(1),
      " channels, got sizes ", hidden_.sizes(), ", ", fc1_weight.sizes(), " and ",
      fc2_weight.sizes());
  for (const Tensor& each :
       {sums_, products_, means_, mean_, rstd_, hidden_, scale_, fc1_weight, fc2_weight}) {
    TORCH_CHECK_TYPE(
        each.scalar_type() == at::kFloat && each.device().is_cpu(),
        "expected float32 numbers on the CPU, got ", each.scalar_type(), " on ", each.device());
  }
  const Tensor sums = sums_.contiguous(), products = products_.contiguous();
  const Tensor means = means_.contiguous(), mean = mean_.contiguous(), rstd = rstd_.contiguous();
  const Tensor hidden = hidden_.contiguous(), scale = scale_.contiguous();
  const int64_t n = sums.size(0), c = sums.size(1), units = hidden.size(1);
  const float fc1_scale = static_cast<float>(fc1_scale_);
  const float fc2_scale = static_cast<float>(fc2_scale_);
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

  const Tensor context = normalized ? at::sub(means, mean).mul_(rstd) : means;
  const float *h = hidden.const_data_ptr<float>(), *seen = context.const_data_ptr<float>();
  const Tensor weight1 = fc1_weight.contiguous(), weight2 = fc2_weight.contiguous();
  const int64_t groups = units / weight2.size(1);
  Tensor dlogit = input_gradient(ddelta, weight2, groups, fc2_scale);
  float* d = dlogit.mutable_data_ptr<float>();
  std::vector<double> total(units);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < units; ++k) {
      const int64_t at = i * units + k;
      d[at] *= h[at] - h[at] * h[at];
      total[k] += d[at];
    }
  }
  Tensor dfc1_bias = at::empty({units}, sums.options());
  std::copy(total.begin(), total.end(), dfc1_bias.mutable_data_ptr<float>());

  Tensor dfc1_weight = weight_gradient(dlogit, context, weight1, 1, fc1_scale);
  Tensor dfc2_weight = weight_gradient(ddelta, hidden, weight2, groups, fc2_scale);
  Tensor offset =
      detach_gap ? at::zeros_like(means) : input_gradient(dlogit, weight1, 1, fc1_scale);
  Tensor slope = at::zeros_like(rstd);
  float *o = offset.mutable_data_ptr<float>(), *q = slope.mutable_data_ptr<float>();
  const float* m = mean.const_data_ptr<float>();
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
