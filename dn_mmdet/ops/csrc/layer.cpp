// The whole layer as one operator, with its derivative: what ../functional.py and ../autograd.py
// compose of the other operators where processes share statistics.

#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <torch/csrc/autograd/custom_function.h>

#include "maps.h"
#include "operators.h"
#include "passes.h"
#include "sc.h"

namespace dn_mmdet {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// What the backward keeps beside the map, in one tensor.
struct Kept {
  float *means, *scale, *shift, *hidden, *mean, *rstd;

  Kept(float* numbers, const ScSizes& sizes)
      : means(numbers),
        scale(means + sizes.samples * sizes.channels),
        shift(scale + sizes.samples * sizes.channels),
        hidden(shift + sizes.samples * sizes.channels),
        mean(hidden + sizes.samples * sizes.units),
        rstd(mean + sizes.channels) {}
};

void copy_numbers(const Tensor& from, Tensor& to, const char* name) {
  TORCH_CHECK(
      from.dim() == 1 && from.sizes() == to.sizes() && from.device() == to.device(), name,
      " should contain ", to.numel(), " elements not ", from.numel());
  if (from.scalar_type() != at::kFloat || !from.is_contiguous()) {
    to.copy_(from);
  } else {
    std::copy_n(from.const_data_ptr<float>(), to.numel(), to.mutable_data_ptr<float>());
  }
}

// In the layout of x, and of its dtype.
Tensor dense_like(const Tensor& dy, const Tensor& x) {
  const bool planar = x.is_contiguous();
  return dy.to(x.scalar_type())
      .contiguous(planar ? at::MemoryFormat::Contiguous : at::MemoryFormat::ChannelsLast);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor, Tensor> layer_forward(
    const Tensor& x_, const Tensor& fc1_weight, const Tensor& fc1_bias, const Tensor& fc2_weight,
    const Tensor& alpha_offset, const Tensor& lambda_offset, const Optional<Tensor>& frozen_mean,
    const Optional<Tensor>& frozen_var, double eps, bool normalized, double fc1_scale,
    double fc2_scale, const Range& bounds) {
  const Tensor x = dense(x_);
  TORCH_CHECK(
      x.dim() == 4 && frozen_mean.has_value() == frozen_var.has_value(),
      "expected 4D input, and both statistics or neither");
  const int64_t n = x.size(0), c = x.size(1), units = fc1_bias.numel();
  const ScSizes sizes{n, c, units, 1};
  const auto options = x.options().dtype(at::kFloat);
  Tensor mean = at::empty({c}, options), var = at::empty({c}, options);
  Tensor numbers = at::empty(kept_size(n, c, units), options);
  const Kept kept(numbers.mutable_data_ptr<float>(), sizes);
  if (frozen_mean) {
    // Copies, since the running statistics may change before the backward.
    copy_numbers(*frozen_mean, mean, "mean");
    copy_numbers(*frozen_var, var, "var");
    means_pass(x, kept.means);
  } else {
    moments_pass(x, kept.means, mean.mutable_data_ptr<float>(), var.mutable_data_ptr<float>());
  }
  const ScModule sc(
      c, mean, var, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, eps,
      {normalized, fc1_scale, fc2_scale});
  std::copy_n(mean.const_data_ptr<float>(), c, kept.mean);
  std::copy(sc.rstd.begin(), sc.rstd.end(), kept.rstd);
  sc.run_all(kept.means, n, kept.hidden, kept.scale, kept.shift);
  Tensor y = at::empty_like(x);
  affine_pass(x, kept.scale, kept.shift, bounds, y);
  if (!frozen_mean) {
    const double count = static_cast<double>(x.numel() / std::max<int64_t>(c, 1));
    const float unbias = static_cast<float>(count / (count - 1));
    float* variance = var.mutable_data_ptr<float>();
    for (int64_t i = 0; i < c; ++i) variance[i] *= unbias;
  }
  return {y, mean, var, numbers};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> layer_backward(
    const Tensor& dy_, const Tensor& x_, const Tensor& kept_, const Tensor& fc1_weight,
    const Tensor& fc2_weight, bool training, bool normalized, double fc1_scale, double fc2_scale,
    bool detach_gap, const Range& bounds, bool x_needs) {
  // Hooks of saved tensors may have given kept other strides.
  const Tensor x = dense(x_), dy = dense_like(dy_, x), kept = kept_.contiguous();
  check_alike(dy, x);
  const int64_t n = x.size(0), c = x.size(1), units = fc1_weight.size(0);
  const int64_t places = x.size(2) * x.size(3);
  TORCH_CHECK(
      kept.dim() == 1 && kept.scalar_type() == at::kFloat &&
          fits(c, units, fc1_weight, fc2_weight) && kept.size(0) == kept_size(n, c, units),
      "expected what the forward kept of an input of size ", x.sizes(), ", got size ",
      kept.sizes());
  const ScSizes sizes{n, c, units, fc2_weight.size(1)};
  const Kept known(const_cast<float*>(kept.const_data_ptr<float>()), sizes);
  const Tensor weight1 = fc1_weight.contiguous(), weight2 = fc2_weight.contiguous();
  const auto options = kept.options();
  Tensor dfc1_weight = at::empty_like(weight1), dfc2_weight = at::empty_like(weight2);
  Tensor dfc1_bias = at::empty({units}, options);
  Tensor dalpha = at::empty({c}, options), dlambda = at::empty({c}, options);
  std::vector<float> scratch(3 * n * c + c);
  float *sums = scratch.data(), *products = sums + n * c, *offset = products + n * c;
  float* slope = offset + n * c;
  products_pass(dy, x, known.mean, known.scale, known.shift, bounds, sums, products);
  sc_backward_pass(
      sizes,
      {sums, products, known.means, known.mean, known.rstd, known.hidden, known.scale,
       weight1.const_data_ptr<float>(), weight2.const_data_ptr<float>()},
      places, training ? static_cast<double>(n * places) : 0.0,
      {normalized, fc1_scale, fc2_scale}, detach_gap,
      {dfc1_weight.mutable_data_ptr<float>(), dfc1_bias.mutable_data_ptr<float>(),
       dfc2_weight.mutable_data_ptr<float>(), dalpha.mutable_data_ptr<float>(),
       dlambda.mutable_data_ptr<float>(), slope, offset});
  Tensor dx = x_needs ? at::empty_like(x) : at::empty({0}, x.options());
  if (x_needs && !training && !bounds) {
    affine_pass(dy, known.scale, offset, bounds, dx);
  } else if (x_needs) {
    gradient_pass(dy, x, known.scale, slope, offset, known.shift, bounds, dx);
  }
  return {dx, dfc1_weight, dfc1_bias, dfc2_weight, dalpha, dlambda};
}

namespace {

template <class Signature>
auto operator_named(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

// The first tensors as they are; their derivative is an error that says what to do. See
// _Underivable of ../autograd.py, which has the same text.
struct Underivable : torch::autograd::Function<Underivable> {
  static variable_list forward(AutogradContext*, int64_t count, at::TensorList tensors) {
    variable_list same;
    for (int64_t i = 0; i < count; ++i) same.push_back(tensors[i].view_as(tensors[i]));
    return same;
  }

  static variable_list backward(AutogradContext*, variable_list) {
    TORCH_CHECK(
        false,
        "DN-B's fast paths cannot be differentiated twice, as a gradient penalty demands: run the "
        "forward pass inside `with dn_mmdet.ops.use_path('reference'):`, or set the environment "
        "variable DN_MMDET_OPS=reference.");
  }
};

// Whatever is asked for, the way to it leads through an error; the last tensor makes sure that
// there is such a way where, of the weights, only those that were not saved are trained.
void refuse_derivative(variable_list& gradients, const Tensor& dy, const variable_list& saved) {
  variable_list given;
  for (const Tensor& gradient : gradients) {
    if (gradient.defined()) given.push_back(gradient);
  }
  const int64_t count = static_cast<int64_t>(given.size());
  given.push_back(dy);
  given.insert(given.end(), saved.begin(), saved.end());
  given.push_back(at::empty({0}, dy.options()).requires_grad_());
  const variable_list refusing = Underivable::apply(count, at::TensorList(given));
  size_t next = 0;
  for (Tensor& gradient : gradients) {
    if (gradient.defined()) gradient = refusing[next++];
  }
}

// What comes along with the output, and has no gradient.
struct Beside {
  Tensor mean, var, kept;
};

struct Layer : torch::autograd::Function<Layer> {
  static Tensor forward(
      AutogradContext* ctx, const Tensor& x, const Tensor& fc1_weight, const Tensor& fc1_bias,
      const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
      const Optional<Tensor>& mean, const Optional<Tensor>& var, double eps, bool normalized,
      double fc1_scale, double fc2_scale, bool detach_gap, const Range& bounds, Beside* beside) {
    static const auto forward_op =
        operator_named<decltype(layer_forward)>("dn_mmdet::layer_forward");
    at::AutoDispatchBelowADInplaceOrView guard;
    Tensor y;
    std::tie(y, beside->mean, beside->var, beside->kept) = forward_op.call(
        x, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, mean, var, eps,
        normalized, fc1_scale, fc2_scale, bounds);
    ctx->save_for_backward({x, fc1_weight, fc2_weight, beside->kept});
    std::vector<double> numbers{fc1_scale, fc2_scale};
    if (bounds) numbers.insert(numbers.end(), bounds->begin(), bounds->end());
    ctx->saved_data["numbers"] = numbers;
    ctx->saved_data["flags"] = int64_t{!mean} | normalized << 1 | detach_gap << 2;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, variable_list dys) {
    static const auto backward_op =
        operator_named<decltype(layer_backward)>("dn_mmdet::layer_backward");
    const variable_list saved = ctx->get_saved_variables();
    const std::vector<double> numbers = ctx->saved_data["numbers"].toDoubleVector();
    const int64_t flags = ctx->saved_data["flags"].toInt();
    Range bounds;
    if (numbers.size() > 2) bounds = at::ArrayRef<double>(numbers).slice(2);
    variable_list gradients;
    {
      at::AutoGradMode off(false);
      const auto [dx, dfc1, dbias, dfc2, dalpha, dlambda] = backward_op.call(
          dys[0], saved[0], saved[3], saved[1], saved[2], flags & 1, flags >> 1 & 1, numbers[0],
          numbers[1], flags >> 2 & 1, bounds, ctx->needs_input_grad(0));
      gradients = {dx, dfc1, dbias, dfc2, dalpha, dlambda};
    }
    for (size_t i = 0; i < gradients.size(); ++i) {
      if (!ctx->needs_input_grad(i)) gradients[i] = Tensor();
    }
    // With create_graph=True somebody may want to differentiate them.
    if (at::GradMode::is_enabled()) {
      refuse_derivative(gradients, dys[0], {saved[0], saved[1], saved[2]});
    }
    gradients.resize(15);
    return gradients;
  }
};

// Whether there are numbers to be written here, and not what stands for them in a graph; where a
// mode of torch records or replaces operations, it is to see this one too.
bool is_real(const Tensor& tensor) {
  return tensor.key_set().has(c10::DispatchKey::CPU) &&
      !tensor.key_set().has(c10::DispatchKey::Python) &&
      !c10::impl::tls_is_dispatch_key_included(c10::DispatchKey::Python);
}

void move_toward(const Tensor& running, const Tensor& batch, double momentum) {
  if (!is_real(running) || !is_real(batch) || running.scalar_type() != at::kFloat) {
    running.lerp_(batch.to(running.scalar_type()), momentum);
    return;
  }
  float* numbers = running.mutable_data_ptr<float>();
  const int64_t step = running.stride(0);
  const float* others = batch.const_data_ptr<float>();
  const float weight = static_cast<float>(momentum);
  for (int64_t i = 0; i < running.size(0); ++i) {
    float& number = numbers[i * step];
    const float other = others[i], distance = other - number;
    // As torch.lerp has it.
    number = weight < 0.5f ? number + weight * distance : other - distance * (1 - weight);
  }
  if (!running.is_inference()) running.unsafeGetTensorImpl()->bump_version();
}

void count_batch(const Optional<Tensor>& batches) {
  if (!batches) return;
  if (!is_real(*batches) || batches->scalar_type() != at::kLong || batches->numel() != 1) {
    batches->add_(1);
    return;
  }
  ++*batches->mutable_data_ptr<int64_t>();
  if (!batches->is_inference()) batches->unsafeGetTensorImpl()->bump_version();
}

bool any_requires_grad(std::initializer_list<const Tensor*> tensors) {
  if (!at::GradMode::is_enabled()) return false;
  for (const Tensor* tensor : tensors) {
    if (tensor->requires_grad()) return true;
  }
  return false;
}

void check_statistics(const Tensor& x, const Optional<Tensor>& given, const char* name) {
  if (!given) return;
  TORCH_CHECK_VALUE(
      given->dim() == 1 && given->sym_size(0) == x.sym_size(1), name, " should contain ",
      x.sym_size(1), " elements not ", given->sym_numel());
  // Else the kernels of meta tensors would run, and their output is memory as it was found.
  TORCH_CHECK_TYPE(
      given->device() == x.device(), name, ": Tensor on device ", given->device(),
      " is not on the expected device ", x.device(), "!");
}

// The layer with gradients or in training; scale and shift are in what is kept.
std::tuple<Tensor, Tensor> run(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    const Optional<Tensor>& batches, const Tensor& fc1_weight, const Tensor& fc1_bias,
    const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
    bool training, double momentum, double eps, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap, const Range& bounds) {
  Optional<Tensor> mean, var;
  if (!training) mean = running_mean, var = running_var;
  Beside beside;
  const Tensor y = Layer::apply(
      x, fc1_weight, fc1_bias, fc2_weight, alpha_offset, lambda_offset, mean, var, eps, normalized,
      fc1_scale, fc2_scale, detach_gap, bounds, &beside);
  if (training && running_mean) {
    const at::NoGradGuard off;
    count_batch(batches);
    move_toward(*running_mean, beside.mean, momentum);
    move_toward(*running_var, beside.var, momentum);
  }
  return {y, beside.kept};
}

// Before anything is written. Whoever catches these, TypeError and ValueError, can go on.
void check(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    std::initializer_list<const Tensor*> weights, const Tensor& alpha_offset, bool training) {
  TORCH_CHECK_VALUE(x.dim() == 4, "expected 4D input (got ", x.dim(), "D input)");
  TORCH_CHECK_VALUE(
      x.sym_size(1) == alpha_offset.sym_numel(), "expected input with ",
      alpha_offset.sym_numel(), " channels, got input size ", x.sym_sizes());
  for (const Tensor* each : weights) {
    TORCH_CHECK_TYPE(
        each->scalar_type() == at::kFloat && each->device() == x.device(),
        "expected float32 weights on ", x.device(), ", got ", each->scalar_type(), " on ",
        each->device());
  }
  TORCH_CHECK_VALUE(
      running_mean.has_value() == running_var.has_value(),
      "running_mean and running_var must either both be None or neither be None");
  TORCH_CHECK_VALUE(
      training || running_mean, "running_mean must be defined in evaluation mode");
  check_statistics(x, running_mean, "running_mean");
  check_statistics(x, running_var, "running_var");
  TORCH_CHECK_VALUE(
      !training || x.sym_size(0) * x.sym_size(2) * x.sym_size(3) != 1,
      "Expected more than 1 value per channel when training, got input size ", x.sym_sizes());
}

}  // namespace

Tensor dynamic_batch_norm(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    const Optional<Tensor>& batches, const Tensor& fc1_weight, const Tensor& fc1_bias,
    const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
    bool training, double momentum, double eps, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap, const Range& bounds) {
  const auto weights = {&fc1_weight, &fc1_bias, &fc2_weight, &alpha_offset, &lambda_offset};
  check(x, running_mean, running_var, weights, alpha_offset, training);
  if (!training && !(any_requires_grad({&x}) || any_requires_grad(weights))) {
    static const auto evaluate_op = operator_named<decltype(evaluate)>("dn_mmdet::evaluate");
    return evaluate_op.call(
        x, *running_mean, *running_var, fc1_weight, fc1_bias, fc2_weight, alpha_offset,
        lambda_offset, eps, normalized, fc1_scale, fc2_scale, bounds);
  }
  return std::get<0>(run(
      x, running_mean, running_var, batches, fc1_weight, fc1_bias, fc2_weight, alpha_offset,
      lambda_offset, training, momentum, eps, normalized, fc1_scale, fc2_scale, detach_gap,
      bounds));
}

std::tuple<Tensor, Tensor, Tensor> recomputable_batch_norm(
    const Tensor& x, const Optional<Tensor>& running_mean, const Optional<Tensor>& running_var,
    const Optional<Tensor>& batches, const Tensor& fc1_weight, const Tensor& fc1_bias,
    const Tensor& fc2_weight, const Tensor& alpha_offset, const Tensor& lambda_offset,
    bool training, double momentum, double eps, bool normalized, double fc1_scale,
    double fc2_scale, bool detach_gap, const Range& bounds) {
  check(
      x, running_mean, running_var,
      {&fc1_weight, &fc1_bias, &fc2_weight, &alpha_offset, &lambda_offset}, alpha_offset,
      training);
  const auto [y, kept] = run(
      x, running_mean, running_var, batches, fc1_weight, fc1_bias, fc2_weight, alpha_offset,
      lambda_offset, training, momentum, eps, normalized, fc1_scale, fc2_scale, detach_gap,
      bounds);
  const auto n = x.sym_size(0), c = x.sym_size(1), planes = n * c;
  return {y, kept.slice_symint(0, planes, planes * 2).view_symint({n, c}),
          kept.slice_symint(0, planes * 2, planes * 3).view_symint({n, c})};
}

}  // namespace dn_mmdet
