// Reading and writing the storage types, one or eight at once; all arithmetic is float.
//
// The conversions of c10 are calls or branches where the instruction set is not known at compile
// time; these are shifts and selections, which compilers vectorise.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#define DN_INLINE inline __attribute__((always_inline))
#define DN_LAMBDA __attribute__((always_inline))

namespace dn_mmdet {

DN_INLINE uint32_t to_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

DN_INLINE float from_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

DN_INLINE float load(float value) { return value; }

DN_INLINE float load(c10::BFloat16 value) {
  return from_bits(static_cast<uint32_t>(value.x) << 16);
}

// Of one number or of a vector, whose bits are in the upper half of each word. The exponent is moved
// to its place and its bias corrected by a product; subnormal numbers by the difference of two
// numbers that share the exponent.
template <class Float, class Word>
DN_INLINE Float from_half(const Word& word) {
  const auto as = [](auto to, const auto& from) DN_LAMBDA {
    std::memcpy(&to, &from, sizeof to);
    return to;
  };
  const Word magnitude = word + word;
  const Float normal = as(Float{}, Word((magnitude >> 4) + (0xE0u << 23))) * 0x1.0p-112f;
  const Float subnormal = as(Float{}, Word((magnitude >> 17) | (126u << 23))) - 0.5f;
  const Word bits = magnitude < (1u << 27) ? as(Word{}, subnormal) : as(Word{}, normal);
  return as(Float{}, Word((word & 0x80000000u) | bits));
}

DN_INLINE float load(c10::Half value) {
  return from_half<float>(static_cast<uint32_t>(value.x) << 16);
}

DN_INLINE void store(float& place, float value) { place = value; }

// To the nearest, ties to even, as all of PyTorch rounds.
DN_INLINE void store(c10::BFloat16& place, float value) {
  const uint32_t bits = to_bits(value);
  const uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  place.x = static_cast<uint16_t>(is_nan ? 0x7FC0u : rounded);
}

DN_INLINE void store(c10::Half& place, float value) {
  const uint32_t word = to_bits(value);
  const uint32_t magnitude = word + word;
  uint32_t bias = magnitude & 0xFF000000u;
  bias = bias < 0x71000000u ? 0x71000000u : bias;
  // Too large becomes infinite here, and the sum rounds at the last bit of a half.
  const float scaled = (std::fabs(value) * 0x1.0p+112f) * 0x1.0p-110f;
  const uint32_t bits = to_bits(from_bits((bias >> 1) + 0x07800000u) + scaled);
  const uint32_t finite = ((bits >> 13) & 0x7C00u) + (bits & 0x0FFFu);
  const uint32_t half = magnitude > 0xFF000000u ? 0x7E00u : finite;
  place.x = static_cast<uint16_t>(((word >> 16) & 0x8000u) | half);
}

// Eight numbers, whatever the registers hold: so all instruction sets add in one order. Templates
// of the library forget a larger alignment.
constexpr int64_t kWide = 8;
typedef float Vector __attribute__((vector_size(4 * kWide), aligned(4)));
typedef int32_t Mask __attribute__((vector_size(4 * kWide), aligned(4)));

typedef uint32_t Bits __attribute__((vector_size(4 * kWide), aligned(4)));
typedef uint16_t HalfBits __attribute__((vector_size(2 * kWide), aligned(2)));

DN_INLINE Vector vector_at(const float* x) { return *reinterpret_cast<const Vector*>(x); }

// A storage type's bits in the upper half.
template <class T>
DN_INLINE Bits upper_bits_at(const T* x) {
  return __builtin_convertvector(*reinterpret_cast<const HalfBits*>(x), Bits) << 16;
}

DN_INLINE Vector load_vector(const float* x) { return vector_at(x); }

DN_INLINE Vector load_vector(const c10::BFloat16* x) {
  return reinterpret_cast<Vector>(upper_bits_at(x));
}

DN_INLINE Vector load_vector(const c10::Half* x) { return from_half<Vector>(upper_bits_at(x)); }

// The last `count` of eight; zero in the place of the others, whatever they are.
DN_INLINE Vector last_of(const Vector& v, int64_t count) {
  static const int32_t masks[2 * kWide] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};
  return reinterpret_cast<Vector>(
      reinterpret_cast<Mask>(v) & *reinterpret_cast<const Mask*>(masks + count));
}

#if defined(__clang__) || __GNUC__ >= 12
#define DN_SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define DN_SHUFFLE(v, ...) __builtin_shuffle(v, (Mask){__VA_ARGS__})
#endif

DN_INLINE float sum_of(Vector v) {
  v += DN_SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3);
  v += DN_SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5);
  v += DN_SHUFFLE(v, 1, 0, 3, 2, 5, 4, 7, 6);
  return v[0];
}

}  // namespace dn_mmdet
