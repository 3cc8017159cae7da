// The kernels of ../sc.py for a CPU: the SC-Module on float numbers per sample and channel,
// (N, C), and what is made of its outputs. The matrices are small: calls of a library, which wakes
// threads for them, would take longer than the products.

#include <cmath>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "operators.h"
#include "sc.h"

namespace dn_mmdet {
namespace {

// y[column] += sum over i of weight[i][column] x[i], for eight samples at once; the weights are
// read in order.
DN_KERNEL void weigh_back(
    const float* weight, int64_t pitch, int64_t columns, int64_t inputs, const Vector* x,
    Vector* y) {
  int64_t i = 0;
  for (; i + 4 <= inputs; i += 4, weight += 4 * pitch) {
    const float *w1 = weight + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    const Vector x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
    for (int64_t c = 0; c < columns; ++c) {
      y[c] += (weight[c] * x0 + w1[c] * x1) + (w2[c] * x2 + w3[c] * x3);
    }
  }
  for (; i < inputs; ++i, weight += pitch) {
    for (int64_t c = 0; c < columns; ++c) y[c] += weight[c] * x[i];
  }
}

// The same for a single sample, whose columns are the vectors.
DN_KERNEL void weigh_back_one(
    const float* weight, int64_t pitch, int64_t columns, int64_t inputs, const float* x,
    float* y) {
  int64_t i = 0;
  for (; i + 4 <= inputs; i += 4, weight += 4 * pitch) {
    const float *w1 = weight + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    const float x0 = x[i], x1 = x[i + 1], x2 = x[i + 2], x3 = x[i + 3];
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) {
      y[c] += (weight[c] * x0 + w1[c] * x1) + (w2[c] * x2 + w3[c] * x3);
    }
  }
  for (; i < inputs; ++i, weight += pitch) {
    const float only = x[i];
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) y[c] += weight[c] * only;
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
        sum += factors[n * stride + row] * vector_at(x + n * pitch + start);
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

// The gradient of a weight, (outputs, size), whose products with its inputs are scaled: those of
// the gradients of its outputs and its inputs, summed over samples. Each group of rows sees inputs
// of its own.
void weight_gradient(
    const float* dout, const float* seen, int64_t n, int64_t outputs, int64_t size,
    int64_t groups, float scale, float* out) {
  if (groups > 1) {
    const int64_t share = outputs / groups, inputs = groups * size;
    for (int64_t row = 0; row < outputs; ++row) {
      for (int64_t i = 0; i < size; ++i) {
        float sum = 0;
        for (int64_t k = 0; k < n; ++k) {
          sum += dout[k * outputs + row] * seen[k * inputs + row / share * size + i];
        }
        out[row * size + i] = scale * sum;
      }
    }
    return;
  }
  const Padded rows(seen, n, size);
  at::parallel_for(0, outputs, rows_worth_a_thread(n * size), [&](int64_t begin, int64_t end) {
    outer(
        dout + begin, outputs, rows.numbers.data(), rows.pitch, n, end - begin, size, scale,
        out + begin * size);
  });
}

// scale * dout @ weight, group by group; `columns` is the width of the result, (samples, columns).
void input_gradient(
    const float* dout, const float* weight, int64_t samples, int64_t outputs, int64_t columns,
    int64_t groups, float scale, float* out) {
  const int64_t share = outputs / groups, inputs = columns / groups;
  const auto each = [&](auto weigh, int64_t width, const auto* x, auto* y) {
    for (int64_t group = 0; group < groups; ++group) {
      const float* block = weight + group * share * inputs;
      at::parallel_for(
          0, inputs, rows_worth_a_thread(share * width), [&](int64_t begin, int64_t end) {
            weigh(
                block + begin, inputs, end - begin, share, x + group * share,
                y + group * inputs + begin);
          });
    }
  };
  if (samples == 1) {
    std::fill_n(out, columns, 0.0f);
    each(weigh_back_one, 1, dout, out);
    for (int64_t i = 0; i < columns; ++i) out[i] *= scale;
    return;
  }
  std::vector<Vector> x(outputs), y(columns);
  for (int64_t first = 0; first < samples; first += kSamples) {
    const int64_t count = std::min(kSamples, samples - first);
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t i = 0; i < outputs; ++i) x[i][n] = dout[(first + n) * outputs + i];
    }
    std::fill(y.begin(), y.end(), Vector{});
    each(weigh_back, kSamples, x.data(), y.data());
    for (int64_t n = 0; n < count; ++n) {
      for (int64_t i = 0; i < columns; ++i) out[(first + n) * columns + i] = scale * y[i][n];
    }
  }
}

}  // namespace

void sc_backward_pass(
    const ScSizes& sizes, const ScKnown& known, int64_t places, double count, const ScForm& form,
    bool detach_gap, const ScWanted& wanted) {
  const int64_t n = sizes.samples, c = sizes.channels, units = sizes.units;
  const float *r = known.rstd, *m = known.mean, *h = known.hidden;
  std::vector<float> ddelta(n * 2 * c);
  std::vector<double> t1(c), t2(c), total_alpha(c), total_lambda(c), total(units);
  for (int64_t i = 0; i < n; ++i) {
    float* d = ddelta.data() + i * 2 * c;
    const float *s1 = known.sums + i * c, *s2 = known.products + i * c, *a = known.scale + i * c;
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
  std::copy(total_alpha.begin(), total_alpha.end(), wanted.alpha_offset);
  std::copy(total_lambda.begin(), total_lambda.end(), wanted.lambda_offset);

  std::vector<float> dlogit(n * units);
  input_gradient(
      ddelta.data(), known.fc2_weight, n, 2 * c, units, sizes.groups(), form.fc2_scale,
      dlogit.data());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t k = 0; k < units; ++k) {
      const int64_t at = i * units + k;
      dlogit[at] *= h[at] - h[at] * h[at];
      total[k] += dlogit[at];
    }
  }
  std::copy(total.begin(), total.end(), wanted.fc1_bias);

  std::vector<float> context(form.normalized ? n * c : 0);
  for (size_t i = 0; i < context.size(); ++i) {
    const int64_t k = static_cast<int64_t>(i) % c;
    context[i] = (known.means[i] - m[k]) * r[k];
  }
  const float* seen = form.normalized ? context.data() : known.means;
  weight_gradient(dlogit.data(), seen, n, units, c, 1, form.fc1_scale, wanted.fc1_weight);
  weight_gradient(
      ddelta.data(), h, n, 2 * c, sizes.inputs, sizes.groups(), form.fc2_scale,
      wanted.fc2_weight);
  float *o = wanted.offset, *q = wanted.slope;
  if (detach_gap) {
    std::fill_n(o, n * c, 0.0f);
  } else {
    input_gradient(dlogit.data(), known.fc1_weight, n, units, c, 1, form.fc1_scale, o);
  }
  if (form.normalized) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < c; ++k) {
        o[i * c + k] *= r[k];
        t1[k] += o[i * c + k];
        t2[k] += o[i * c + k] * seen[i * c + k];
      }
    }
  }
  std::vector<float> common(c);
  std::fill_n(q, c, 0.0f);
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
}

std::tuple<Tensor, Tensor, Tensor, Tensor> sc_forward(
    const Tensor& means_, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale,
    double fc2_scale) {
  const Tensor means = means_.contiguous();
  const int64_t n = means.size(0), c = means.size(1);
  const ScModule sc(
      c, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps,
      {normalized, fc1_scale, fc2_scale});
  Tensor rstd = at::empty({c}, means.options()), hidden = at::empty({n, sc.units}, means.options());
  std::copy(sc.rstd.begin(), sc.rstd.end(), rstd.mutable_data_ptr<float>());
  Tensor scale = at::empty_like(means), shift = at::empty_like(means);
  sc.run_all(
      means.const_data_ptr<float>(), n, hidden.mutable_data_ptr<float>(),
      scale.mutable_data_ptr<float>(), shift.mutable_data_ptr<float>());
  return {rstd, hidden, scale, shift};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> sc_backward(
    const Tensor& sums_, const Tensor& products_, const Tensor& means_, const Tensor& mean_,
    const Tensor& rstd_, const Tensor& hidden_, const Tensor& scale_, const Tensor& fc1_weight,
    const Tensor& fc2_weight, int64_t places, double count, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap) {
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
  const Tensor weight1 = fc1_weight.contiguous(), weight2 = fc2_weight.contiguous();
  Tensor dfc1_weight = at::empty_like(weight1), dfc2_weight = at::empty_like(weight2);
  Tensor dfc1_bias = at::empty({given_units}, sums.options());
  Tensor dalpha_offset = at::empty_like(rstd), dlambda_offset = at::empty_like(rstd);
  Tensor slope = at::empty_like(rstd), offset = at::empty_like(means);
  sc_backward_pass(
      {means.size(0), means.size(1), given_units, weight2.size(1)},
      {sums.const_data_ptr<float>(), products.const_data_ptr<float>(),
       means.const_data_ptr<float>(), mean.const_data_ptr<float>(), rstd.const_data_ptr<float>(),
       hidden.const_data_ptr<float>(), scale.const_data_ptr<float>(),
       weight1.const_data_ptr<float>(), weight2.const_data_ptr<float>()},
      places, count,
      {normalized, fc1_scale, fc2_scale}, detach_gap,
      {dfc1_weight.mutable_data_ptr<float>(), dfc1_bias.mutable_data_ptr<float>(),
       dfc2_weight.mutable_data_ptr<float>(), dalpha_offset.mutable_data_ptr<float>(),
       dlambda_offset.mutable_data_ptr<float>(), slope.mutable_data_ptr<float>(),
       offset.mutable_data_ptr<float>()});
  return {
      dfc1_weight, dfc1_bias, dfc2_weight, dalpha_offset, dlambda_offset, slope, offset};
}

}  // namespace dn_mmdet
