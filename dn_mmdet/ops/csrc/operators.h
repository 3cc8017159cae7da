// What library.cpp registers.
#pragma once

#include <optional>
#include <tuple>

#include <ATen/core/Tensor.h>
#include <torch/version.h>

#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 5
#include <c10/util/Optional.h>
#endif

namespace dn_mmdet {

using at::Tensor;
// The class that the signatures of operators may have; it has become the standard library's.
#if TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR < 5
template <class T>
using Optional = c10::optional<T>;
#else
template <class T>
using Optional = std::optional<T>;
#endif
using Range = Optional<at::ArrayRef<double>>;

// As it is, or contiguous where it is neither that nor channels_last.
inline Tensor dense(const Tensor& x) {
  return x.is_contiguous(at::MemoryFormat::ChannelsLast) ? x : x.contiguous();
}

Tensor plane_means(const Tensor& x);

std::tuple<Tensor, Tensor, Tensor> plane_moments(const Tensor& x);

Tensor plane_affine(
    const Tensor& x, const Tensor& scale, const Tensor& shift, const Range& bounds);

std::tuple<Tensor, Tensor> plane_products(
    const Tensor& dy, const Tensor& x, const Tensor& mean, const Optional<Tensor>& scale,
    const Optional<Tensor>& shift, const Range& bounds);

Tensor plane_gradient(
    const Tensor& dy, const Tensor& x, const Tensor& scale, const Tensor& slope,
    const Tensor& offset, const Optional<Tensor>& shift, const Range& bounds);

std::tuple<Tensor, Tensor, Tensor, Tensor> sc_forward(
    const Tensor& means, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale,
    double fc2_scale);

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> sc_backward(
    const Tensor& sums, const Tensor& products, const Tensor& means, const Tensor& mean,
    const Tensor& rstd, const Tensor& hidden, const Tensor& scale, const Tensor& fc1_weight,
    const Tensor& fc2_weight, int64_t places, double count, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap);

Tensor evaluate(
    const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds);

// In place.
void evaluate_(
    const Tensor& x, const Tensor& mean, const Tensor& var, const Tensor& fc1_weight,
    const Tensor& fc1_bias, const Tensor& fc2_weight, const Tensor& alpha_offset,
    const Tensor& lambda_offset, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds);

// The whole layer. What the backward keeps beside the map has this size.
template <class Int>
Int kept_size(const Int& samples, const Int& channels, const Int& units) {
  return samples * (channels * 3 + units) + channels * 2;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> layer_forward(
    const Tensor& x, const Tensor& fc1_weight, const Tensor& fc1_bias, const Tensor& fc2_weight,
    const Tensor& alpha_offset, const Tensor& lambda_offset, const Optional<Tensor>& mean,
    const Optional<Tensor>& var, double eps, bool normalized, double fc1_scale, double fc2_scale,
    const Range& bounds);

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> layer_backward(
    const Tensor& dy, const Tensor& x, const Tensor& kept, const Tensor& fc1_weight,
    const Tensor& fc2_weight, bool training, bool normalized, double fc1_scale, double fc2_scale,
    bool detach_gap, const Range& bounds, bool x_needs);

Tensor dynamic_batch_norm(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    const Optional<Tensor>& batches, const Tensor& fc1_weight, const Tensor& fc1_bias,
    const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
    bool training, double momentum, double eps, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap, const Range& bounds);

// The same, and the scale and shift of the map.
std::tuple<Tensor, Tensor, Tensor> recomputable_batch_norm(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    const Optional<Tensor>& batches, const Tensor& fc1_weight, const Tensor& fc1_bias,
    const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
    bool training, double momentum, double eps, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap, const Range& bounds);

}  // namespace dn_mmdet
