// The kernels of ../planes.py for a CPU: maps of float, bfloat16 or half, (N, C, H, W) and
// contiguous or channels_last; numbers per sample and channel are float, (N, C).
//
// No result depends on the number of threads: what is summed in one go is given by the shape.

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>
#include <torch/version.h>

#include "kernels.h"

namespace dn_mmdet {
namespace {

using at::Tensor;

// Numbers worth a thread, and those of a block of rows.
constexpr int64_t kGrain = 32768;
constexpr int64_t kMaxRows = 256;

int64_t grain(int64_t numbers_of_a_task) {
  return std::max<int64_t>(kGrain / std::max<int64_t>(numbers_of_a_task, 1), 1);
}

// How a map lies in memory. Maps of one place are rows of channels, whatever their strides.
struct Layout {
  int64_t samples, channels, places;
  bool planar;
  int64_t rows, blocks;  // Rows of a block, and blocks of a sample.

  explicit Layout(const Tensor& x) {
    TORCH_CHECK(x.dim() == 4, "expected 4D input (got ", x.dim(), "D input)");
    samples = x.size(0), channels = x.size(1), places = x.size(2) * x.size(3);
    planar = places > 1 && x.is_contiguous();
    TORCH_CHECK(
        x.is_contiguous() || x.is_contiguous(at::MemoryFormat::ChannelsLast),
        "expected a contiguous or channels_last input");
    rows = std::clamp<int64_t>(kGrain / std::max<int64_t>(channels, 1), 1, kMaxRows);
    blocks = (places + rows - 1) / rows;
  }

  int64_t planes() const { return samples * channels; }
};

// Calls f(number of a storage type) for the dtype of x.
template <class F>
void for_dtype(const Tensor& x, const F& f) {
  switch (x.scalar_type()) {
    case at::kFloat:
      return f(float{});
    case at::kBFloat16:
      return f(at::BFloat16{});
    case at::kHalf:
      return f(at::Half{});
    default:
      TORCH_CHECK_TYPE(
          false, "expected an input of float32, bfloat16 or float16, got ", x.scalar_type());
  }
}

// Calls f(first plane, number of planes) in parallel.
template <class F>
void for_planes(const Layout& layout, const F& f) {
  at::parallel_for(
      0, layout.planes(), grain(layout.places),
      [&](int64_t begin, int64_t end) { f(begin, end - begin); });
}

// Calls f(block, sample, first row counted over all samples, number of rows) in parallel.
template <class F>
void for_blocks(const Layout& layout, const F& f) {
  at::parallel_for(
      0, layout.samples * layout.blocks,
      grain(std::min(layout.rows, layout.places) * layout.channels),
      [&](int64_t begin, int64_t end) {
        for (int64_t block = begin; block < end; ++block) {
          const int64_t sample = block / layout.blocks;
          const int64_t row = block % layout.blocks * layout.rows;
          f(block, sample, sample * layout.places + row,
            std::min(layout.rows, layout.places - row));
        }
      });
}

Tensor per_plane(const Tensor& x) {
  return at::empty({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
}

Tensor per_channel(const Tensor& x) {
  return at::empty({x.size(1)}, x.options().dtype(at::kFloat));
}

// Where the blocks of a sample write what is merged into `result` afterwards.
Tensor per_block(const Layout& layout, const Tensor& result) {
  if (layout.blocks == 1) return result;
  return at::empty({layout.samples * layout.blocks, layout.channels}, result.options());
}

Tensor numbers(const Tensor& given, const Tensor& like, bool per_sample, const char* name) {
  TORCH_CHECK(
      given.scalar_type() == at::kFloat && given.device() == like.device() &&
          (per_sample ? given.dim() == 2 && given.size(0) == like.size(0)
                      : given.dim() == 1) &&
          given.size(-1) == like.size(1),
      "expected ", name, " of float32, one number per ", per_sample ? "sample and " : "",
      "channel of an input of size ", like.sizes(), ", got ", given.scalar_type(), " of size ",
      given.sizes());
  return given.contiguous();
}

void check_alike(const Tensor& dy, const Tensor& x) {
  TORCH_CHECK(
      dy.sizes() == x.sizes() && dy.scalar_type() == x.scalar_type() &&
          dy.device() == x.device() && Layout(dy).planar == Layout(x).planar,
      "expected a gradient of the size, dtype, device and memory format of the input");
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

int64_t rows_of(const Layout& layout, int64_t block) {
  return std::min(layout.rows, layout.places - block * layout.rows);
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

// The means of a sample's blocks, weighted by their rows.
std::vector<double> merge_means(const Layout& layout, const float* parts, int64_t sample) {
  const int64_t c = layout.channels;
  std::vector<double> mean(c);
  const float* part = parts + sample * layout.blocks * c;
  for (int64_t block = 0; block < layout.blocks; ++block, part += c) {
    const double weight = static_cast<double>(rows_of(layout, block)) / layout.places;
    for (int64_t i = 0; i < c; ++i) mean[i] += weight * part[i];
  }
  return mean;
}

// Chan's merge: the squares of the blocks, and what their means spread around the common one.
void merge_moments(
    const Layout& layout, const float* mean_parts, const float* square_parts, float* means,
    float* squares) {
  const int64_t c = layout.channels;
  for_merges(layout, [&](int64_t sample) {
    const std::vector<double> mean = merge_means(layout, mean_parts, sample);
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

Tensor plane_means(const Tensor& x) {
  const Layout layout(x);
  Tensor means = per_plane(x);
  float* out = means.mutable_data_ptr<float>();
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* data = x.const_data_ptr<T>();
    if (layout.planar) {
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        means_of_planes(data + plane * layout.places, layout.places, planes, out + plane);
      });
      return;
    }
    Tensor parts = per_block(layout, means);
    float* part = parts.mutable_data_ptr<float>();
    const int64_t c = layout.channels;
    for_blocks(layout, [&](int64_t block, int64_t, int64_t row, int64_t rows) {
      means_of_rows(data + row * c, rows, c, part + block * c);
    });
    for_merges(layout, [&](int64_t sample) {
      const std::vector<double> mean = merge_means(layout, part, sample);
      std::copy(mean.begin(), mean.end(), out + sample * c);
    });
  });
  return means;
}

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
void moments_by_rows(const Tensor& x, const Layout& layout, Tensor& means, Tensor& squares) {
  Tensor mean_parts = per_block(layout, means), square_parts = per_block(layout, squares);
  float* mean_part = mean_parts.mutable_data_ptr<float>();
  float* square_part = square_parts.mutable_data_ptr<float>();
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
  merge_moments(
      layout, mean_part, square_part, means.mutable_data_ptr<float>(),
      squares.mutable_data_ptr<float>());
}

std::tuple<Tensor, Tensor, Tensor> plane_moments(const Tensor& x) {
  const Layout layout(x);
  Tensor means = per_plane(x), squares = per_plane(x);
  Tensor mean = per_channel(x), var = per_channel(x);
  float* mean_out = means.mutable_data_ptr<float>();
  float* square_out = squares.mutable_data_ptr<float>();
  if (layout.planar) {
    for_dtype(x, [&](auto number) {
      using T = decltype(number);
      const T* data = x.const_data_ptr<T>();
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        moments_of_planes(
            data + plane * layout.places, layout.places, planes, mean_out + plane,
            square_out + plane);
      });
    });
  } else {
    moments_by_rows(x, layout, means, squares);
  }
  merge_samples(
      layout, mean_out, square_out, mean.mutable_data_ptr<float>(), var.mutable_data_ptr<float>());
  return {means, mean, var};
}

Tensor plane_affine(const Tensor& x, const Tensor& scale, const Tensor& shift) {
  const Layout layout(x);
  const Tensor scales = numbers(scale, x, true, "scale"), shifts = numbers(shift, x, true, "shift");
  const float* a = scales.const_data_ptr<float>();
  const float* b = shifts.const_data_ptr<float>();
  Tensor y = at::empty_like(x);
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* from = x.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    if (layout.planar) {
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        affine_of_planes(from + plane * s, s, planes, a + plane, b + plane, to + plane * s);
      });
      return;
    }
    for_blocks(layout, [&](int64_t, int64_t sample, int64_t row, int64_t rows) {
      affine_of_rows(from + row * c, rows, c, a + sample * c, b + sample * c, to + row * c);
    });
  });
  return y;
}

std::tuple<Tensor, Tensor> plane_products(const Tensor& dy, const Tensor& x, const Tensor& mean) {
  const Layout layout(x);
  check_alike(dy, x);
  const Tensor centers = numbers(mean, x, false, "mean");
  const float* center = centers.const_data_ptr<float>();
  Tensor sums = per_plane(x), products = per_plane(x);
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* gradient = dy.const_data_ptr<T>();
    const T* data = x.const_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    if (layout.planar) {
      float* sum = sums.mutable_data_ptr<float>();
      float* product = products.mutable_data_ptr<float>();
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        products_of_planes(
            gradient + plane * s, data + plane * s, s, planes, center, plane % c, c, sum + plane,
            product + plane);
      });
      return;
    }
    Tensor sum_parts = per_block(layout, sums), product_parts = per_block(layout, products);
    float* sum = sum_parts.mutable_data_ptr<float>();
    float* product = product_parts.mutable_data_ptr<float>();
    for_blocks(layout, [&](int64_t block, int64_t, int64_t row, int64_t rows) {
      products_of_rows(
          gradient + row * c, data + row * c, rows, c, center, sum + block * c,
          product + block * c);
    });
    merge_sums(layout, sum, sums.mutable_data_ptr<float>());
    merge_sums(layout, product, products.mutable_data_ptr<float>());
  });
  return {sums, products};
}

Tensor plane_gradient(
    const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& slope,
    const Tensor& shift) {
  const Layout layout(x);
  check_alike(dy, x);
  const Tensor scales = numbers(scale, x, true, "scale"), shifts = numbers(shift, x, true, "shift");
  const Tensor slopes = numbers(slope, x, false, "slope");
  const float* p = scales.const_data_ptr<float>();
  const float* q = slopes.const_data_ptr<float>();
  const float* r = shifts.const_data_ptr<float>();
  Tensor dx = at::empty_like(x);
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* gradient = dy.const_data_ptr<T>();
    const T* data = x.const_data_ptr<T>();
    T* to = dx.mutable_data_ptr<T>();
    const int64_t c = layout.channels, s = layout.places;
    if (layout.planar) {
      for_planes(layout, [&](int64_t plane, int64_t planes) {
        gradient_of_planes(
            gradient + plane * s, data + plane * s, s, planes, p + plane, q, r + plane, plane % c,
            c, to + plane * s);
      });
      return;
    }
    for_blocks(layout, [&](int64_t, int64_t sample, int64_t row, int64_t rows) {
      gradient_of_rows(
          gradient + row * c, data + row * c, rows, c, p + sample * c, q, r + sample * c,
          to + row * c);
    });
  });
  return dx;
}

// ---- Shapes alone, for fake tensors; sizes may be symbols. ----

Tensor shape_per_plane(const Tensor& x) {
  return at::empty_symint({x.sym_size(0), x.sym_size(1)}, x.options().dtype(at::kFloat));
}

Tensor shape_per_channel(const Tensor& x) {
  return at::empty_symint({x.sym_size(1)}, x.options().dtype(at::kFloat));
}

std::tuple<Tensor, Tensor, Tensor> shapes_of_moments(const Tensor& x) {
  return {shape_per_plane(x), shape_per_channel(x), shape_per_channel(x)};
}

Tensor shape_of_affine(const Tensor& x, const Tensor&, const Tensor&) { return at::empty_like(x); }

std::tuple<Tensor, Tensor> shapes_of_products(const Tensor&, const Tensor& x, const Tensor&) {
  return {shape_per_plane(x), shape_per_plane(x)};
}

Tensor shape_of_gradient(
    const Tensor&, const Tensor& x, const Tensor&, const Tensor&, const Tensor&) {
  return at::empty_like(x);
}

std::string built_for() { return TORCH_VERSION; }

}  // namespace

TORCH_LIBRARY(dn_mmdet, m) {
  m.def("built_for() -> str", &built_for);
  m.def("plane_means(Tensor x) -> Tensor");
  m.def("plane_moments(Tensor x) -> (Tensor means, Tensor mean, Tensor var)");
  m.def("plane_affine(Tensor x, Tensor scale, Tensor shift) -> Tensor");
  m.def("plane_products(Tensor dy, Tensor x, Tensor mean) -> (Tensor sums, Tensor products)");
  m.def("plane_gradient(Tensor dy, Tensor x, Tensor scale, Tensor slope, Tensor shift) -> Tensor");
}

TORCH_LIBRARY_IMPL(dn_mmdet, CPU, m) {
  m.impl("plane_means", &plane_means);
  m.impl("plane_moments", &plane_moments);
  m.impl("plane_affine", &plane_affine);
  m.impl("plane_products", &plane_products);
  m.impl("plane_gradient", &plane_gradient);
}

TORCH_LIBRARY_IMPL(dn_mmdet, Meta, m) {
  m.impl("plane_means", &shape_per_plane);
  m.impl("plane_moments", &shapes_of_moments);
  m.impl("plane_affine", &shape_of_affine);
  m.impl("plane_products", &shapes_of_products);
  m.impl("plane_gradient", &shape_of_gradient);
}

}  // namespace dn_mmdet
