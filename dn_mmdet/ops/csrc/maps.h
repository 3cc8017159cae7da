// Maps, (N, C, H, W): how they lie in memory, and how threads share them.
//
// No result depends on the number of threads: what is summed in one go is given by the shape.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "kernels.h"
#include "operators.h"

namespace dn_mmdet {
namespace {

// Numbers worth a thread, and those of a block of rows.
constexpr int64_t kGrain = 32768;
constexpr int64_t kMaxRows = 256;

inline int64_t grain(int64_t numbers_of_a_task) {
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

// The same from the last plane or block to the first, some at a time. A map that was just written,
// or read by the pass before, is in the cache where it was left: at its end.
template <class F>
void for_planes_backwards(const Layout& layout, const F& f) {
  const int64_t some = grain(layout.places);
  at::parallel_for(0, layout.planes(), some, [&](int64_t begin, int64_t end) {
    while (end > begin) {
      const int64_t first = std::max(begin, end - some);
      f(first, end - first);
      end = first;
    }
  });
}

template <class F>
void for_blocks_backwards(const Layout& layout, const F& f) {
  at::parallel_for(
      0, layout.samples * layout.blocks,
      grain(std::min(layout.rows, layout.places) * layout.channels),
      [&](int64_t begin, int64_t end) {
        for (int64_t block = end - 1; block >= begin; --block) {
          const int64_t sample = block / layout.blocks;
          const int64_t row = block % layout.blocks * layout.rows;
          f(block, sample, sample * layout.places + row,
            std::min(layout.rows, layout.places - row));
        }
      });
}

// Calls f(Unbounded{}) or f(Bounds).
template <class F>
void for_bounds(const Range& bounds, const F& f) {
  if (!bounds) return f(Unbounded{});
  TORCH_CHECK(bounds->size() == 2, "expected two bounds, got ", bounds->size());
  f(Bounds{static_cast<float>((*bounds)[0]), static_cast<float>((*bounds)[1])});
}

inline Tensor per_plane(const Tensor& x) {
  return at::empty({x.size(0), x.size(1)}, x.options().dtype(at::kFloat));
}

inline Tensor per_channel(const Tensor& x) {
  return at::empty({x.size(1)}, x.options().dtype(at::kFloat));
}

// Where the blocks of a sample write what is merged into `result` afterwards.
struct PerBlock {
  std::vector<float> own;
  float* numbers;

  PerBlock(const Layout& layout, float* result)
      : own(layout.blocks == 1 ? 0 : layout.samples * layout.blocks * layout.channels),
        numbers(own.empty() ? result : own.data()) {}
};

inline Tensor numbers(const Tensor& given, const Tensor& like, bool per_sample, const char* name) {
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

inline void check_alike(const Tensor& dy, const Tensor& x) {
  TORCH_CHECK(
      dy.sizes() == x.sizes() && dy.scalar_type() == x.scalar_type() &&
          dy.device() == x.device() && Layout(dy).planar == Layout(x).planar,
      "expected a gradient of the size, dtype, device and memory format of the input");
}

inline int64_t rows_of(const Layout& layout, int64_t block) {
  return std::min(layout.rows, layout.places - block * layout.rows);
}

// The means of a sample from those of its blocks, weighted by their rows.
inline std::vector<double> merged_means(const Layout& layout, const float* parts) {
  const int64_t c = layout.channels;
  std::vector<double> mean(c);
  for (int64_t block = 0; block < layout.blocks; ++block, parts += c) {
    const double weight = static_cast<double>(rows_of(layout, block)) / layout.places;
    for (int64_t i = 0; i < c; ++i) mean[i] += weight * parts[i];
  }
  return mean;
}

inline void merge_means(const Layout& layout, const float* parts, float* means) {
  const std::vector<double> mean = merged_means(layout, parts);
  std::copy(mean.begin(), mean.end(), means);
}

}  // namespace
}  // namespace dn_mmdet
