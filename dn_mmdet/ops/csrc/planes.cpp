// The kernels of ../backends/aten.py for a CPU: maps of float, bfloat16 or half, (N, C, H, W) and
// contiguous or channels_last; numbers per sample and channel are float, (N, C).

#include <ATen/ops/empty_like.h>

#include "maps.h"
#include "operators.h"
#include "passes.h"

namespace dn_mmdet {
namespace {

// Calls f(Open{}) or f(Gate): where the activation lets the gradient pass.
template <class F>
void for_gate(const float* scale, const float* shift, const Range& bounds, const F& f) {
  if (!bounds) return f(Open{});
  for_bounds(bounds, [&](auto given) {
    if constexpr (std::is_same_v<decltype(given), Bounds>) f(Gate{scale, shift, given});
  });
}

// Scale or shift of the activation's input, which there must be where there are bounds.
Tensor of_gate(
    const Optional<Tensor>& given, const Tensor& x, const Range& bounds, const char* name) {
  if (!bounds) return {};
  TORCH_CHECK(given, "expected scale and shift beside the bounds");
  return numbers(*given, x, true, name);
}

const float* data_of(const Tensor& numbers) {
  return numbers.defined() ? numbers.const_data_ptr<float>() : nullptr;
}

// Calls f(sample) in parallel where a sample has blocks to be merged.
template <class F>
void for_merges(const Layout& layout, const F& f) {
  if (layout.blocks == 1) return;
  at::parallel_for(
      0, layout.samples, grain(layout.blocks * layout.channels), [&](int64_t begin, int64_t end) {
        for (int64_t sample = begin; sample < end; ++sample) f(sample);
      });
}

void merge_sums(const Layout& layout, const float* parts, float* sums) {
  const int64_t c = layout.channels;
  for_merges(layout, [&](int64_t sample) {
    std::vector<double> total(c);
    const float* part = parts + sample * layout.blocks * c;
    for (int64_t block = 0; block < layout.blocks; ++block, part += c) {
      for (int64_t i = 0; i < c; ++i) total[i] += part[i];
    }
    std::copy(total.begin(), total.end(), sums + sample * c);
  });
}

// Chan's merge: the squares of the blocks, and what their means spread around the common one.
void merge_moments(
    const Layout& layout, const float* mean_parts, const float* square_parts, float* means,
    float* squares) {
  const int64_t c = layout.channels;
  for_merges(layout, [&](int64_t sample) {
    const std::vector<double> mean = merged_means(layout, mean_parts + sample * layout.blocks * c);
    std::vector<double> total(c);
    for (int64_t block = 0; block < layout.blocks; ++block) {
      const int64_t at = (sample * layout.blocks + block) * c;
      const double rows = static_cast<double>(rows_of(layout, block));
      for (int64_t i = 0; i < c; ++i) {
        const double delta = mean_parts[at + i] - mean[i];
        total[i] += square_parts[at + i] + rows * delta * delta;
      }
    }
    std::copy(mean.begin(), mean.end(), means + sample * c);
    std::copy(total.begin(), total.end(), squares + sample * c);
  });
}

}  // namespace

void means_pass(const Tensor& x, float* means) {
  const Layout layout(x);
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* data = x.const_data_ptr<T>();
    if (layout.planar) {
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        means_of_planes(data + plane * layout.places, layout.places, planes, means + plane);
      });
      return;
    }
    const PerBlock parts(layout, means);
    float* part = parts.numbers;
    const int64_t c = layout.channels;
    for_blocks(layout, [&](int64_t block, int64_t, int64_t row, int64_t rows) {
      means_of_rows(data + row * c, rows, c, part + block * c);
    });
    for_merges(layout, [&](int64_t sample) {
      merge_means(layout, part + sample * layout.blocks * c, means + sample * c);
    });
  });
}

namespace {

// Mean and biased variance of each channel from means and centred sums of squares of its planes.
void merge_samples(
    const Layout& layout, const float* means, const float* squares, float* mean, float* var) {
  const int64_t c = layout.channels;
  std::vector<double> totals(c), spreads(c);
  for (int64_t n = 0; n < layout.samples; ++n) {
    for (int64_t i = 0; i < c; ++i) totals[i] += means[n * c + i];
  }
  for (int64_t i = 0; i < c; ++i) totals[i] /= layout.samples;
  for (int64_t n = 0; n < layout.samples; ++n) {
    for (int64_t i = 0; i < c; ++i) {
      const double delta = means[n * c + i] - totals[i];
      spreads[i] += squares[n * c + i] / static_cast<double>(layout.places) + delta * delta;
    }
  }
  for (int64_t i = 0; i < c; ++i) {
    mean[i] = static_cast<float>(totals[i]);
    var[i] = static_cast<float>(spreads[i] / layout.samples);
  }
}

// Means and centred sums of squares of the planes of a map whose rows are channels.
void moments_by_rows(const Tensor& x, const Layout& layout, float* means, float* squares) {
  const PerBlock mean_parts(layout, means), square_parts(layout, squares);
  float *mean_part = mean_parts.numbers, *square_part = square_parts.numbers;
  const int64_t c = layout.channels;
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* data = x.const_data_ptr<T>();
    for_blocks(layout, [&](int64_t block, int64_t, int64_t row, int64_t rows) {
      std::vector<float> scratch(c);
      moments_of_rows(
          data + row * c, rows, c, mean_part + block * c, square_part + block * c,
          scratch.data());
    });
  });
  merge_moments(layout, mean_part, square_part, means, squares);
}

}  // namespace

void moments_pass(const Tensor& x, float* means, float* mean, float* var) {
  const Layout layout(x);
  std::vector<float> squares(layout.planes());
  if (layout.planar) {
    for_dtype(x, [&](auto number) {
      using T = decltype(number);
      const T* data = x.const_data_ptr<T>();
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        moments_of_planes(
            data + plane * layout.places, layout.places, planes, means + plane,
            squares.data() + plane);
      });
    });
  } else {
    moments_by_rows(x, layout, means, squares.data());
  }
  merge_samples(layout, means, squares.data(), mean, var);
}

void affine_pass(
    const Tensor& x, const float* scale, const float* shift, const Range& bounds,
    const Tensor& y) {
  const Layout layout(x);
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* from = x.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    for_bounds(bounds, [&](auto clamp) {
      if (layout.planar) {
        for_planes_backwards(layout, [&](int64_t plane, int64_t planes) {
          affine_of_planes(
              from + plane * s, s, planes, scale + plane, shift + plane, clamp, to + plane * s);
        });
        return;
      }
      for_blocks_backwards(layout, [&](int64_t, int64_t sample, int64_t row, int64_t rows) {
        affine_of_rows(
            from + row * c, rows, c, scale + sample * c, shift + sample * c, clamp, to + row * c);
      });
    });
  });
}

void products_pass(
    const Tensor& dy, const Tensor& x, const float* mean, const float* scale, const float* shift,
    const Range& bounds, float* sums, float* products) {
  const Layout layout(x);
  for_gate(scale, shift, bounds, [&](auto gate) { for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* gradient = dy.const_data_ptr<T>();
    const T* data = x.const_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    if (layout.planar) {
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        products_of_planes(
            gradient + plane * s, data + plane * s, s, planes, mean, plane % c, c,
            gate.from(plane), sums + plane, products + plane);
      });
      return;
    }
    const PerBlock sum_parts(layout, sums), product_parts(layout, products);
    float *sum = sum_parts.numbers, *product = product_parts.numbers;
    for_blocks(layout, [&](int64_t block, int64_t sample, int64_t row, int64_t rows) {
      products_of_rows(
          gradient + row * c, data + row * c, rows, c, mean, gate.from(sample * c),
          sum + block * c, product + block * c);
    });
    merge_sums(layout, sum, sums);
    merge_sums(layout, product, products);
  }); });
}

void gradient_pass(
    const Tensor& dy, const Tensor& x, const float* scale, const float* slope,
    const float* offset, const float* shift, const Range& bounds, Tensor& dx) {
  const Layout layout(x);
  for_gate(scale, shift, bounds, [&](auto gate) { for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* gradient = dy.const_data_ptr<T>();
    const T* data = x.const_data_ptr<T>();
    T* to = dx.mutable_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    if (layout.planar) {
      for_planes_backwards(layout, [&](int64_t plane, int64_t planes) {
        gradient_of_planes(
            gradient + plane * s, data + plane * s, s, planes, scale + plane, slope,
            offset + plane, plane % c, c, gate.from(plane), to + plane * s);
      });
      return;
    }
    for_blocks_backwards(layout, [&](int64_t, int64_t sample, int64_t row, int64_t rows) {
      gradient_of_rows(
          gradient + row * c, data + row * c, rows, c, scale + sample * c, slope,
          offset + sample * c, gate.from(sample * c), to + row * c);
    });
  }); });
}

Tensor plane_means(const Tensor& x) {
  Tensor means = per_plane(x);
  means_pass(x, means.mutable_data_ptr<float>());
  return means;
}

std::tuple<Tensor, Tensor, Tensor> plane_moments(const Tensor& x) {
  Tensor means = per_plane(x), mean = per_channel(x), var = per_channel(x);
  moments_pass(
      x, means.mutable_data_ptr<float>(), mean.mutable_data_ptr<float>(),
      var.mutable_data_ptr<float>());
  return {means, mean, var};
}

Tensor plane_affine(
    const Tensor& x, const Tensor& scale, const Tensor& shift, const Range& bounds) {
  const Tensor scales = numbers(scale, x, true, "scale"), shifts = numbers(shift, x, true, "shift");
  Tensor y = at::empty_like(x);
  affine_pass(x, scales.const_data_ptr<float>(), shifts.const_data_ptr<float>(), bounds, y);
  return y;
}

std::tuple<Tensor, Tensor> plane_products(
    const Tensor& dy, const Tensor& x, const Tensor& mean, const Optional<Tensor>& scale,
    const Optional<Tensor>& shift, const Range& bounds) {
  check_alike(dy, x);
  const Tensor centers = numbers(mean, x, false, "mean");
  const Tensor scales = of_gate(scale, x, bounds, "scale");
  const Tensor shifts = of_gate(shift, x, bounds, "shift");
  Tensor sums = per_plane(x), products = per_plane(x);
  products_pass(
      dy, x, centers.const_data_ptr<float>(), data_of(scales), data_of(shifts), bounds,
      sums.mutable_data_ptr<float>(), products.mutable_data_ptr<float>());
  return {sums, products};
}

Tensor plane_gradient(
    const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& slope,
    const Tensor& offset, const Optional<Tensor>& shift, const Range& bounds) {
  check_alike(dy, x);
  const Tensor scales = numbers(scale, x, true, "scale");
  const Tensor offsets = numbers(offset, x, true, "offset");
  const Tensor slopes = numbers(slope, x, false, "slope");
  const Tensor shifts = of_gate(shift, x, bounds, "shift");
  Tensor dx = at::empty_like(x);
  gradient_pass(
      dy, x, scales.const_data_ptr<float>(), slopes.const_data_ptr<float>(),
      offsets.const_data_ptr<float>(), data_of(shifts), bounds, dx);
  return dx;
}

}  // namespace dn_mmdet
