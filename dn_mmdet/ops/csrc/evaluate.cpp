// A layer with frozen statistics in one go: a sample is pooled, and mapped while it is still in
// the cache.

#include <ATen/ops/empty_like.h>

#include "maps.h"
#include "operators.h"
#include "passes.h"
#include "sc.h"

namespace dn_mmdet {
namespace {

constexpr int64_t kManyPlaces = 512;
constexpr int64_t kAlone = 4 * kGrain;

// One sample, on the calling thread; `means`, `scale` and `shift` hold a number per channel.
template <class T>
void pool_sample(const Layout& layout, const T* x, float* means) {
  const int64_t c = layout.channels;
  if (layout.planar) return means_of_planes(x, layout.places, c, means);
  if (layout.blocks == 1) return means_of_rows(x, layout.places, c, means);
  std::vector<float> parts(layout.blocks * c);
  for (int64_t block = 0; block < layout.blocks; ++block) {
    const int64_t row = block * layout.rows;
    means_of_rows(
        x + row * c, std::min(layout.rows, layout.places - row), c, parts.data() + block * c);
  }
  merge_means(layout, parts.data(), means);
}

template <class T, class Clamp>
void map_sample(
    const Layout& layout, const T* x, const float* scale, const float* shift, Clamp clamp, T* y) {
  if (layout.planar) {
    affine_of_planes(x, layout.places, layout.channels, scale, shift, clamp, y);
  } else {
    affine_of_rows(x, layout.places, layout.channels, scale, shift, clamp, y);
  }
}

// Whether a thread takes whole samples. So it is where they alone keep all threads busy, and are
// worth it: small maps stay in the cache anyway, and there the SC-Module, which is quicker for
// eight samples than for each, is what counts. A single small one is not worth a second thread.
bool shares_by_sample(const Layout& layout) {
  if (layout.samples == 1 && layout.channels * layout.places <= kAlone) return true;
  const int64_t threads = at::get_num_threads();
  return layout.places >= kManyPlaces &&
      (layout.samples % threads == 0 || layout.samples >= 4 * threads);
}

// `x` is dense, and `y` like it, or `x` itself.
void evaluate_to(
    const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds, const Tensor& y) {
  const Layout layout(x);
  const int64_t c = layout.channels, size = c * layout.places;
  const ScModule sc(
      c, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps,
      {normalized, fc1_scale, fc2_scale});
  if (!shares_by_sample(layout)) {
    const int64_t planes = layout.planes();
    std::vector<float> numbers(3 * planes);
    float *means = numbers.data(), *scale = means + planes, *shift = scale + planes;
    means_pass(x, means);
    sc.run_all(means, layout.samples, nullptr, scale, shift);
    affine_pass(x, scale, shift, bounds, y);
    return;
  }
  for_dtype(x, [&](auto number) {
    using T = decltype(number);
    const T* from = x.const_data_ptr<T>();
    T* to = y.mutable_data_ptr<T>();
    for_bounds(bounds, [&](auto clamp) {
      at::parallel_for(0, layout.samples, grain(size), [&](int64_t begin, int64_t end) {
        std::vector<float> means(c), scale(c), shift(c);
        for (int64_t n = end - 1; n >= begin; --n) {  // See for_planes_backwards.
          pool_sample(layout, from + n * size, means.data());
          if (layout.samples == 1) {
            sc.run_one(means.data(), nullptr, scale.data(), shift.data());
          } else {
            sc.run(means.data(), 1, nullptr, scale.data(), shift.data());
          }
          map_sample(
              layout, from + n * size, scale.data(), shift.data(), clamp, to + n * size);
        }
      });
    });
  });
}

}  // namespace

Tensor evaluate(
    const Tensor& x_, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds) {
  const Tensor x = dense(x_);
  const Tensor y = at::empty_like(x);
  evaluate_to(
      x, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps,
      normalized, fc1_scale, fc2_scale, bounds, y);
  return y;
}

void evaluate_(
    const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds) {
  const Tensor y = dense(x);
  evaluate_to(
      y, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps,
      normalized, fc1_scale, fc2_scale, bounds, y);
  if (!y.is_same(x)) x.copy_(y);
}

}  // namespace dn_mmdet
