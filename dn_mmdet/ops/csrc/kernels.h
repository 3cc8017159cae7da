// Loops over one plane after the other, and over rows of channels, without layouts or threads.
//
// Sums are float within a block that stays in the cache and double between blocks. Moments take
// two passes over a block, the second centred and correcting the mean of the first; no sum of
// uncentred squares is taken, since float would lose the variance when the mean is large.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "numbers.h"

// One copy of each kernel per instruction set, chosen by the processor when the library is loaded.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
#define DN_KERNEL __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DN_KERNEL __attribute__((target_clones("avx512f", "avx2", "default")))
#endif
#else
#define DN_KERNEL
#endif

namespace dn_mmdet {
// Each source has copies of its own: the choice of one at load time is no business of the linker.
namespace {

// Numbers of a plane that stay in the first cache between two passes.
constexpr int64_t kBlock = 4096;
constexpr int64_t kLanes = 32;
// Up to so many numbers are summed by vectors of eight: what is left of the lanes, and their own
// sum, would take more time than the numbers.
constexpr int64_t kFew = 512;
// Planes of fewer places than a vector has are transposed, kTile at a time, and summed as rows are.
constexpr int64_t kSmall = kWide;
constexpr int64_t kTile = 64;

template <class Number>
struct PairOf {
  Number first, second;

  DN_INLINE PairOf operator+(const PairOf& other) const {
    return {first + other.first, second + other.second};
  }
};

using Pair = PairOf<float>;

struct LoadOne {
  template <class T>
  DN_INLINE float operator()(const T* x) const {
    return load(*x);
  }
};

struct LoadVector {
  template <class T>
  DN_INLINE Vector operator()(const T* x) const {
    return load_vector(x);
  }
};

// At least a vector of numbers.
template <class Terms>
DN_INLINE Pair sum_few_pairs(int64_t size, const Terms& terms) {
  const LoadVector load;
  PairOf<Vector> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kWide <= size; i += 4 * kWide) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < 4; ++k) sums[k] = sums[k] + terms(load, i + k * kWide);
  }
  for (; i + kWide <= size; i += kWide) sums[0] = sums[0] + terms(load, i);
  if (i < size) {
    const PairOf<Vector> last = terms(load, size - kWide);
    sums[1] = sums[1] +
        PairOf<Vector>{last_of(last.first, size - i), last_of(last.second, size - i)};
  }
  const PairOf<Vector> sum = (sums[0] + sums[2]) + (sums[1] + sums[3]);
  return {sum_of(sum.first), sum_of(sum.second)};
}

// The two sums of terms(load, i) over i < size, where load(x + i) is one number or eight. The lanes
// fix the order of the additions, so that it is that of neither the instruction set nor the dtype.
template <class Terms>
DN_INLINE Pair sum_pairs(int64_t size, const Terms& some_terms) {
  if (size >= kWide && size <= kFew) return sum_few_pairs(size, some_terms);
  const auto terms = [&](int64_t i) DN_LAMBDA { return some_terms(LoadOne{}, i); };
  float first[kLanes] = {}, second[kLanes] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes <= size; i += 4 * kLanes) {
#pragma omp simd
    for (int64_t k = 0; k < kLanes; ++k) {
      const Pair t0 = terms(i + k), t1 = terms(i + k + kLanes);
      const Pair t2 = terms(i + k + 2 * kLanes), t3 = terms(i + k + 3 * kLanes);
      first[k] += (t0.first + t1.first) + (t2.first + t3.first);
      second[k] += (t0.second + t1.second) + (t2.second + t3.second);
    }
  }
  for (; i < size; i += kLanes) {
    const int64_t rest = std::min(kLanes, size - i);
#pragma omp simd
    for (int64_t k = 0; k < rest; ++k) {
      const Pair t = terms(i + k);
      first[k] += t.first;
      second[k] += t.second;
    }
  }
  for (int64_t half = kLanes / 2; half > 0; half /= 2) {
    for (int64_t k = 0; k < half; ++k) {
      first[k] += first[k + half];
      second[k] += second[k + half];
    }
  }
  return {first[0], second[0]};
}

template <class T>
DN_INLINE float sum_block(const T* x, int64_t size) {
  const auto terms = [=](const auto& load, int64_t i) DN_LAMBDA {
    const auto value = load(x + i);
    return PairOf<decltype(+value)>{value, {}};
  };
  return sum_pairs(size, terms).first;
}

// The mean of numbers whose differences from `rough` sum to `residual`. Where `rough` is not
// finite, it is the answer.
DN_INLINE float corrected_mean(float rough, float residual, float inverse) {
  return std::isfinite(rough) ? rough + residual * inverse : rough;
}

// The centred sum of squares likewise; rounding must not make it negative, but NaN stays NaN.
DN_INLINE float corrected_squares(float squares, float residual, float inverse) {
  const float corrected = squares - residual * residual * inverse;
  return corrected < 0 ? 0 : corrected;
}

struct Moments {
  float mean, squares;
};

template <class T>
DN_INLINE Moments block_moments(const T* x, int64_t size) {
  const float inverse = 1 / static_cast<float>(size);
  const float rough = sum_block(x, size) * inverse;
  const Pair sums = sum_pairs(size, [=](const auto& load, int64_t i) DN_LAMBDA {
    const auto d = load(x + i) - rough;
    return PairOf<decltype(d * d)>{d, d * d};
  });
  return {
      corrected_mean(rough, sums.first, inverse),
      corrected_squares(sums.second, sums.first, inverse)};
}

// Chan's merge of the blocks of a plane. The total is kept apart: where numbers are infinite, it
// is the mean that is asked for.
template <class T>
DN_INLINE Moments merged_moments(const T* x, int64_t size) {
  double total = 0, squares = 0;
  for (int64_t start = 0; start < size; start += kBlock) {
    const double count = static_cast<double>(std::min(kBlock, size - start));
    const Moments block = block_moments(x + start, static_cast<int64_t>(count));
    const double before = static_cast<double>(start);
    const double delta = start ? block.mean - total / before : 0;
    squares += block.squares + delta * delta * (before * count / (before + count));
    total += count * block.mean;
  }
  return {static_cast<float>(total / static_cast<double>(size)), static_cast<float>(squares)};
}

// ---- Activations: a clamp behind the map, and where it lets the gradient pass. ----

struct Unbounded {
  DN_INLINE float operator()(float value) const { return value; }
};

// NaN stays NaN.
struct Bounds {
  float low, high;

  DN_INLINE float operator()(float value) const {
    return value < low ? low : (value > high ? high : value);
  }
};

struct Open {
  template <class Number>
  DN_INLINE Number operator()(const Number& gradient, const Number&, int64_t) const {
    return gradient;
  }
  DN_INLINE Open from(int64_t) const { return {}; }
  DN_INLINE Open only(int64_t) const { return {}; }
};

// For a single plane.
struct PlaneGate {
  float scale, shift;
  Bounds bounds;

  template <class Number>
  DN_INLINE Number operator()(const Number& gradient, const Number& x, int64_t) const {
    const Number value = x * scale + shift;
    return (value <= bounds.low) | (value >= bounds.high) ? Number{} : gradient;
  }
};

// For the planes, or the channels of a row, from that of `scale` on.
struct Gate {
  const float *scale, *shift;
  Bounds bounds;

  DN_INLINE float operator()(float gradient, float x, int64_t i) const {
    return PlaneGate{scale[i], shift[i], bounds}(gradient, x, i);
  }
  DN_INLINE Gate from(int64_t i) const { return {scale + i, shift + i, bounds}; }
  DN_INLINE PlaneGate only(int64_t i) const { return {scale[i], shift[i], bounds}; }
};

// ---- Rows: `rows` times `channels` numbers; a result for each channel. Maps go row by row, since
// several streams at once would be slower. Where a row is short, sums take some at once, so that
// what belongs to a channel is read and written less often. ----

// Calls f(R, row) for R rows at once while there are as many, then row by row. R, and with it the
// order of the additions, follows from `width`: the channels, or for tiles the size of a full one,
// since how many planes are left for the last depends on the number of threads.
template <class F>
DN_INLINE void for_rows(int64_t rows, int64_t width, const F& f) {
  int64_t row = 0;
  if (width <= 32) {
    for (; row + 8 <= rows; row += 8) f(std::integral_constant<int, 8>{}, row);
  } else if (width <= 64) {
    for (; row + 4 <= rows; row += 4) f(std::integral_constant<int, 4>{}, row);
  } else if (width <= 128) {
    for (; row + 2 <= rows; row += 2) f(std::integral_constant<int, 2>{}, row);
  }
  for (; row < rows; ++row) f(std::integral_constant<int, 1>{}, row);
}

template <class T>
DN_INLINE void means_of_rows_inline(
    const T* x, int64_t rows, int64_t channels, int64_t width, float* means) {
  std::fill_n(means, channels, 0.0f);
  for_rows(rows, width, [&](auto count, int64_t row) DN_LAMBDA {
    const T* start = x + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0;
#pragma GCC unroll 8
      for (int k = 0; k < count(); ++k) sum += load(start[k * channels + c]);
      means[c] += sum;
    }
  });
  const float inverse = 1 / static_cast<float>(rows);
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) means[c] *= inverse;
}

template <class T>
DN_KERNEL void means_of_rows(const T* x, int64_t rows, int64_t channels, float* means) {
  means_of_rows_inline(x, rows, channels, channels, means);
}

template <class T>
DN_INLINE void moments_of_rows_inline(
    const T* x, int64_t rows, int64_t channels, int64_t width, float* means, float* squares,
    float* residuals) {
  means_of_rows_inline(x, rows, channels, width, means);
  std::fill_n(squares, channels, 0.0f);
  std::fill_n(residuals, channels, 0.0f);
  for_rows(rows, width, [&](auto count, int64_t row) DN_LAMBDA {
    const T* start = x + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      float residual = 0, square = 0;
#pragma GCC unroll 8
      for (int k = 0; k < count(); ++k) {
        const float d = load(start[k * channels + c]) - means[c];
        residual += d;
        square += d * d;
      }
      residuals[c] += residual;
      squares[c] += square;
    }
  });
  const float inverse = 1 / static_cast<float>(rows);
#pragma omp simd
  for (int64_t c = 0; c < channels; ++c) {
    means[c] = corrected_mean(means[c], residuals[c], inverse);
    squares[c] = corrected_squares(squares[c], residuals[c], inverse);
  }
}

// `residuals` is scratch, one number per channel.
template <class T>
DN_KERNEL void moments_of_rows(
    const T* x, int64_t rows, int64_t channels, float* means, float* squares, float* residuals) {
  moments_of_rows_inline(x, rows, channels, channels, means, squares, residuals);
}

template <class T, class Clamp>
DN_KERNEL void affine_of_rows(
    const T* x, int64_t rows, int64_t channels, const float* __restrict scale,
    const float* __restrict shift, Clamp clamp, T* y) {
  for (int64_t row = 0; row < rows; ++row, x += channels, y += channels) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      store(y[c], clamp(load(x[c]) * scale[c] + shift[c]));
    }
  }
}

template <class T, class G>
DN_INLINE void products_of_rows_inline(
    const T* dy, const T* x, int64_t rows, int64_t channels, int64_t width, const float* mean,
    G gate, float* sums, float* products) {
  std::fill_n(sums, channels, 0.0f);
  std::fill_n(products, channels, 0.0f);
  for_rows(rows, width, [&](auto count, int64_t row) DN_LAMBDA {
    const T *start_dy = dy + row * channels, *start = x + row * channels;
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0, product = 0;
#pragma GCC unroll 8
      for (int k = 0; k < count(); ++k) {
        const float value = load(start[k * channels + c]);
        const float d = gate(load(start_dy[k * channels + c]), value, c);
        sum += d;
        product += d * (value - mean[c]);
      }
      sums[c] += sum;
      products[c] += product;
    }
  });
}

template <class T, class G>
DN_KERNEL void products_of_rows(
    const T* dy, const T* x, int64_t rows, int64_t channels, const float* mean, G gate,
    float* sums, float* products) {
  products_of_rows_inline(dy, x, rows, channels, channels, mean, gate, sums, products);
}

template <class T, class G>
DN_KERNEL void gradient_of_rows(
    const T* __restrict dy, const T* __restrict x, int64_t rows, int64_t channels,
    const float* __restrict scale, const float* __restrict slope, const float* __restrict offset,
    G gate, T* __restrict dx) {
  for (int64_t row = 0; row < rows; ++row, dy += channels, x += channels, dx += channels) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const float value = load(x[c]);
      store(dx[c], gate(load(dy[c]), value, c) * scale[c] + (value * slope[c] + offset[c]));
    }
  }
}

// ---- Planes: `planes` times `size` numbers in a row. ----

// Calls f(first plane, number of planes) for all tiles.
template <class F>
DN_INLINE void for_tiles(int64_t planes, const F& f) {
  for (int64_t p = 0; p < planes; p += kTile) f(p, std::min(kTile, planes - p));
}

template <class T>
DN_INLINE void transpose(const T* x, int64_t size, int64_t planes, float* rows) {
  for (int64_t p = 0; p < planes; ++p, x += size) {
    for (int64_t i = 0; i < size; ++i) rows[i * planes + p] = load(x[i]);
  }
}

template <class T>
DN_KERNEL void means_of_planes(const T* x, int64_t size, int64_t planes, float* means) {
  if (size < kSmall) {
    float tile[kSmall * kTile];
    for_tiles(planes, [&](int64_t p, int64_t count) {
      transpose(x + p * size, size, count, tile);
      means_of_rows_inline(tile, size, count, kTile, means + p);
    });
    return;
  }
  for (int64_t p = 0; p < planes; ++p, x += size) {
    double total = 0;
    for (int64_t start = 0; start < size; start += kBlock) {
      total += sum_block(x + start, std::min(kBlock, size - start));
    }
    means[p] = static_cast<float>(total / static_cast<double>(size));
  }
}

template <class T>
DN_KERNEL void moments_of_planes(
    const T* x, int64_t size, int64_t planes, float* means, float* squares) {
  if (size < kSmall) {
    float tile[kSmall * kTile], residuals[kTile];
    for_tiles(planes, [&](int64_t p, int64_t count) {
      transpose(x + p * size, size, count, tile);
      moments_of_rows_inline(tile, size, count, kTile, means + p, squares + p, residuals);
    });
    return;
  }
  for (int64_t p = 0; p < planes; ++p, x += size) {
    const Moments plane = size <= kBlock ? block_moments(x, size) : merged_moments(x, size);
    means[p] = plane.mean;
    squares[p] = plane.squares;
  }
}

template <class T, class Clamp>
DN_KERNEL void affine_of_planes(
    const T* x, int64_t size, int64_t planes, const float* scale, const float* shift, Clamp clamp,
    T* y) {
  for (int64_t p = 0; p < planes; ++p, x += size, y += size) {
    const float a = scale[p], b = shift[p];
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) store(y[i], clamp(load(x[i]) * a + b));
  }
}

// The first plane is that of channel `channel`, of `channels`.
template <class T, class G>
DN_KERNEL void products_of_planes(
    const T* dy, const T* x, int64_t size, int64_t planes, const float* mean, int64_t channel,
    int64_t channels, G gate, float* sums, float* products) {
  if (size < kSmall) {
    float tile_dy[kSmall * kTile], tile[kSmall * kTile], centers[kTile];
    for_tiles(planes, [&](int64_t p, int64_t count) {
      transpose(dy + p * size, size, count, tile_dy);
      transpose(x + p * size, size, count, tile);
      for (int64_t i = 0; i < count; ++i) {
        centers[i] = mean[channel];
        channel = channel + 1 == channels ? 0 : channel + 1;
      }
      products_of_rows_inline(
          tile_dy, tile, size, count, kTile, centers, gate.from(p), sums + p, products + p);
    });
    return;
  }
  for (int64_t p = 0; p < planes; ++p, dy += size, x += size) {
    const float center = mean[channel];
    channel = channel + 1 == channels ? 0 : channel + 1;
    const auto plane_gate = gate.only(p);
    double sum = 0, product = 0;
    for (int64_t start = 0; start < size; start += kBlock) {
      const T *block_dy = dy + start, *block = x + start;
      const auto terms = [=](const auto& load, int64_t i) DN_LAMBDA {
        const auto value = load(block + i), g = plane_gate(load(block_dy + i), value, i);
        return PairOf<decltype(g * value)>{g, g * (value - center)};
      };
      const Pair pair = sum_pairs(std::min(kBlock, size - start), terms);
      sum += pair.first;
      product += pair.second;
    }
    sums[p] = static_cast<float>(sum);
    products[p] = static_cast<float>(product);
  }
}

template <class T, class G>
DN_KERNEL void gradient_of_planes(
    const T* __restrict dy, const T* __restrict x, int64_t size, int64_t planes,
    const float* scale, const float* slope, const float* offset, int64_t channel,
    int64_t channels, G gate, T* __restrict dx) {
  for (int64_t p = 0; p < planes; ++p, dy += size, x += size, dx += size) {
    const float a = scale[p], b = slope[channel], c = offset[p];
    const auto plane_gate = gate.only(p);
    channel = channel + 1 == channels ? 0 : channel + 1;
#pragma omp simd
    for (int64_t i = 0; i < size; ++i) {
      const float value = load(x[i]);
      store(dx[i], plane_gate(load(dy[i]), value, i) * a + (value * b + c));
    }
  }
}

}  // namespace
}  // namespace dn_mmdet
