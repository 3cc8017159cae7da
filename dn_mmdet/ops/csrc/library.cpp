// Names and signatures of the operators, and their shapes alone for fake tensors.

#include <ATen/core/enum_tag.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>
#include <torch/version.h>

#include "operators.h"

namespace dn_mmdet {
namespace {

std::string built_for() { return TORCH_VERSION; }

// Of the names and signatures below; backends/cpp.py has the same number, and both grow when one
// of these changes, so that a library of other sources is not called.
int64_t interface() { return 4; }

// Sizes may be symbols.
Tensor shape_per_plane(const Tensor& x) {
  return at::empty_symint({x.sym_size(0), x.sym_size(1)}, x.options().dtype(at::kFloat));
}

Tensor shape_per_channel(const Tensor& x) {
  return at::empty_symint({x.sym_size(1)}, x.options().dtype(at::kFloat));
}

Tensor shape_of_dense(const Tensor& x) {
  // Of a map of one place, whose strides say nothing, too.
  return at::empty_like(
      x, {}, x.is_contiguous(at::MemoryFormat::ChannelsLast) ? at::MemoryFormat::Preserve
                                                             : at::MemoryFormat::Contiguous);
}

Tensor shape_of_weight(const Tensor& weight) {
  return at::empty_like(weight, {}, at::MemoryFormat::Contiguous);
}

std::tuple<Tensor, Tensor, Tensor> shapes_of_moments(const Tensor& x) {
  return {shape_per_plane(x), shape_per_channel(x), shape_per_channel(x)};
}

Tensor shape_of_affine(const Tensor& x, const Tensor&, const Tensor&, const Range&) {
  return at::empty_like(x);
}

std::tuple<Tensor, Tensor> shapes_of_products(
    const Tensor&, const Tensor& x, const Tensor&, const Optional<Tensor>&,
    const Optional<Tensor>&, const Range&) {
  return {shape_per_plane(x), shape_per_plane(x)};
}

Tensor shape_of_gradient(
    const Tensor&, const Tensor& x, const Tensor&, const Tensor&, const Tensor&,
    const Optional<Tensor>&, const Range&) {
  return at::empty_like(x);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> shapes_of_sc_forward(
    const Tensor& means, const Tensor& mean, const Tensor&, const Tensor& fc1_weight,
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, double, bool, double, double) {
  return {
      at::empty_like(mean),
      at::empty_symint({means.sym_size(0), fc1_weight.sym_size(0)}, means.options()),
      at::empty_like(means), at::empty_like(means)};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> shapes_of_sc_backward(
    const Tensor&, const Tensor&, const Tensor& means, const Tensor& mean, const Tensor&,
    const Tensor&, const Tensor&, const Tensor& fc1_weight, const Tensor& fc2_weight, int64_t,
    double, bool, double, double, bool) {
  return {
      shape_of_weight(fc1_weight), at::empty_symint({fc1_weight.sym_size(0)}, mean.options()),
      shape_of_weight(fc2_weight), at::empty_like(mean), at::empty_like(mean),
      at::empty_like(mean), at::empty_like(means)};
}

Tensor shape_of_evaluate(
    const Tensor& x, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, double, bool, double, double, const Range&) {
  return shape_of_dense(x);
}

void shape_of_evaluate_(
    const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&, const Tensor&,
    const Tensor&, const Tensor&, double, bool, double, double, const Range&) {}

std::tuple<Tensor, Tensor, Tensor, Tensor> shapes_of_layer_forward(
    const Tensor& x, const Tensor&, const Tensor& fc1_bias, const Tensor&, const Tensor&,
    const Tensor&, const Optional<Tensor>&, const Optional<Tensor>&, double, bool, double, double,
    const Range&) {
  const auto n = x.sym_size(0), c = x.sym_size(1), units = fc1_bias.sym_size(0);
  return {
      shape_of_dense(x), shape_per_channel(x), shape_per_channel(x),
      at::empty_symint({kept_size(n, c, units)}, x.options().dtype(at::kFloat))};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> shapes_of_layer_backward(
    const Tensor&, const Tensor& x, const Tensor& kept, const Tensor& fc1_weight,
    const Tensor& fc2_weight, bool, bool, double, double, bool, const Range&, bool x_needs) {
  return {
      x_needs ? shape_of_dense(x) : at::empty({0}, x.options()), shape_of_weight(fc1_weight),
      at::empty_symint({fc1_weight.sym_size(0)}, kept.options()), shape_of_weight(fc2_weight),
      shape_per_channel(x), shape_per_channel(x)};
}

// What torch.compile puts into graphs: the compiler may choose the layout of maps.
#if TORCH_VERSION_MAJOR > 2 || TORCH_VERSION_MINOR >= 7
const std::vector<at::Tag> kAnyLayout = {at::Tag::flexible_layout};
#else
const std::vector<at::Tag> kAnyLayout = {};
#endif

}  // namespace

TORCH_LIBRARY(dn_mmdet, m) {
  m.def("built_for() -> str", &built_for);
  m.def("interface() -> int", &interface);
  m.def("plane_means(Tensor x) -> Tensor");
  m.def("plane_moments(Tensor x) -> (Tensor means, Tensor mean, Tensor var)");
  m.def(
      "plane_affine(Tensor x, Tensor scale, Tensor shift, float[]? bounds=None) -> Tensor");
  m.def(
      "plane_products(Tensor dy, Tensor x, Tensor mean, Tensor? scale=None, "
      "Tensor? shift=None, float[]? bounds=None) -> (Tensor sums, Tensor products)");
  m.def(
      "plane_gradient(Tensor dy, Tensor x, Tensor scale, Tensor slope, Tensor offset, "
      "Tensor? shift=None, float[]? bounds=None) -> Tensor");
  m.def(
      "sc_forward(Tensor means, Tensor mean, Tensor var, Tensor fc1_weight, Tensor fc1_bias, "
      "Tensor fc2_weight, Tensor alpha_offset, Tensor lambda_offset, float eps, "
      "bool normalized, float fc1_scale, float fc2_scale) -> (Tensor rstd, Tensor hidden, "
      "Tensor scale, Tensor shift)");
  m.def(
      "sc_backward(Tensor sums, Tensor products, Tensor means, Tensor mean, Tensor rstd, "
      "Tensor hidden, Tensor scale, Tensor fc1_weight, Tensor fc2_weight, int places, "
      "float count, bool normalized, float fc1_scale, float fc2_scale, bool detach_gap) -> "
      "(Tensor fc1_weight, Tensor fc1_bias, Tensor fc2_weight, Tensor alpha_offset, "
      "Tensor lambda_offset, Tensor slope, Tensor offset)");
  const std::string frozen =
      " x, Tensor mean, Tensor var, Tensor fc1_weight, Tensor fc1_bias, Tensor fc2_weight, "
      "Tensor alpha_offset, Tensor lambda_offset, float eps, bool normalized, float fc1_scale, "
      "float fc2_scale, float[]? bounds=None) -> ";
  m.def(("evaluate(Tensor" + frozen + "Tensor").c_str(), kAnyLayout);
  m.def(("evaluate_(Tensor(a!)" + frozen + "()").c_str(), kAnyLayout);
  m.def(
      "layer_forward(Tensor x, Tensor fc1_weight, Tensor fc1_bias, Tensor fc2_weight, "
      "Tensor alpha_offset, Tensor lambda_offset, Tensor? mean, Tensor? var, float eps, "
      "bool normalized, float fc1_scale, float fc2_scale, float[]? bounds=None) -> "
      "(Tensor y, Tensor mean, Tensor var, Tensor kept)",
      kAnyLayout);
  m.def(
      "layer_backward(Tensor dy, Tensor x, Tensor kept, Tensor fc1_weight, Tensor fc2_weight, "
      "bool training, bool normalized, float fc1_scale, float fc2_scale, bool detach_gap, "
      "float[]? bounds, bool x_needs) -> (Tensor x, Tensor fc1_weight, Tensor fc1_bias, "
      "Tensor fc2_weight, Tensor alpha_offset, Tensor lambda_offset)",
      kAnyLayout);
  // These are what they are made of, to tracers too.
  const std::string layer =
      "(Tensor x, Tensor(a!)? running_mean, Tensor(b!)? running_var, Tensor(c!)? batches, "
      "Tensor fc1_weight, Tensor fc1_bias, Tensor fc2_weight, Tensor alpha_offset, "
      "Tensor lambda_offset, bool training, float momentum, float eps, bool normalized, "
      "float fc1_scale, float fc2_scale, bool detach_gap, float[]? bounds=None) -> ";
  m.def(("dynamic_batch_norm" + layer + "Tensor").c_str(), &dynamic_batch_norm);
  m.def(
      ("recomputable_batch_norm" + layer + "(Tensor y, Tensor scale, Tensor shift)").c_str(),
      &recomputable_batch_norm);
}

TORCH_LIBRARY_IMPL(dn_mmdet, CPU, m) {
  m.impl("plane_means", &plane_means);
  m.impl("plane_moments", &plane_moments);
  m.impl("plane_affine", &plane_affine);
  m.impl("plane_products", &plane_products);
  m.impl("plane_gradient", &plane_gradient);
  m.impl("sc_forward", &sc_forward);
  m.impl("sc_backward", &sc_backward);
  m.impl("evaluate", &evaluate);
  m.impl("evaluate_", &evaluate_);
  m.impl("layer_forward", &layer_forward);
  m.impl("layer_backward", &layer_backward);
}

TORCH_LIBRARY_IMPL(dn_mmdet, Meta, m) {
  m.impl("plane_means", &shape_per_plane);
  m.impl("plane_moments", &shapes_of_moments);
  m.impl("plane_affine", &shape_of_affine);
  m.impl("plane_products", &shapes_of_products);
  m.impl("plane_gradient", &shape_of_gradient);
  m.impl("sc_forward", &shapes_of_sc_forward);
  m.impl("sc_backward", &shapes_of_sc_backward);
  m.impl("evaluate", &shape_of_evaluate);
  m.impl("evaluate_", &shape_of_evaluate_);
  m.impl("layer_forward", &shapes_of_layer_forward);
  m.impl("layer_backward", &shapes_of_layer_backward);
}

}  // namespace dn_mmdet
