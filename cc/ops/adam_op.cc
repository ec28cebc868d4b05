#include <cmath>
#include <iterator>

#include "cc/kernels/adam.h"
#include "cc/ops/device_kernel.h"
#include "cc/ops/variables.h"
#include "tensorflow/core/framework/op.h"

namespace tf_ls {
namespace {

using tensorflow::OpInputList;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

// The hyperparameters that come as scalars, in the order of the inputs. The betas are double,
// because 1 - beta2 of a float32 has half of its digits only.
constexpr const char* kScalars[] = {"learning_rate",   "beta1",       "beta2",
                                    "beta1_power",     "beta2_power", "epsilon",
                                    "gradient_factor", "clip_value",  "clip_norm"};

// How many variables there are, and how many of them have sparse gradients; these come last.
struct Counts {
  int variables;
  int sparse;
  int dense() const { return variables - sparse; }
  // Inputs.
  int moments() const { return variables; }
  int dense_gradients() const { return moments() + 1; }
  int sparse_gradients() const { return dense_gradients() + dense(); }
  int indices() const { return sparse_gradients() + sparse; }
  int weight_decay() const { return indices() + sparse; }
  int scalars() const { return weight_decay() + 1; }
};

template <typename Context>
Status ReadCounts(Context* context, Counts* counts) {
  std::vector<tensorflow::DataType> dense;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("N", &counts->variables));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("S", &counts->sparse));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("dense_types", &dense));
  std::vector<tensorflow::DataType> sparse;
  TF_LS_RETURN_IF_ERROR(context->GetAttr("sparse_types", &sparse));
  const int gradients = static_cast<int>(dense.size() + sparse.size());
  if (static_cast<int>(sparse.size()) != counts->sparse || gradients != counts->variables) {
    return InvalidArgument("there must be one gradient for each of the ", counts->variables,
                           " variables, and indices for each sparse one, got ", dense.size(),
                           " dense ones, ", sparse.size(), " sparse ones and ", counts->sparse,
                           " indices");
  }
  return Status();
}

// The shape of a resource variable, unknown if the handle does not tell.
Status HandleShape(InferenceContext* c, int input, ShapeHandle* shape) {
  *shape = c->UnknownShape();
  const auto* const known = c->input_handle_shapes_and_types(input);
  if (known == nullptr || known->empty()) return Status();
  const tensorflow::DataType type = (*known)[0].dtype;
  if (type != tensorflow::DT_FLOAT && type != tensorflow::DT_INVALID) {
    return InvalidArgument("variables must be float32, got ", tensorflow::DataTypeString(type));
  }
  *shape = (*known)[0].shape;
  return Status();
}

Status CheckShapes(InferenceContext* c) {
  Counts counts;
  TF_LS_RETURN_IF_ERROR(ReadCounts(c, &counts));
  ShapeHandle ignored;
  DimensionHandle ignored_dimension;
  TF_LS_RETURN_IF_ERROR(
      c->Merge(c->input(counts.moments()), c->Vector(2 * counts.variables), &ignored));
  for (int i = 0; i < counts.variables; ++i) {
    ShapeHandle variable;
    TF_LS_RETURN_IF_ERROR(HandleShape(c, i, &variable));
    if (i < counts.dense()) {
      TF_LS_RETURN_IF_ERROR(c->Merge(variable, c->input(counts.dense_gradients() + i), &ignored));
      continue;
    }
    const int sparse = i - counts.dense();
    ShapeHandle rows, indices, row, variable_row;
    TF_LS_RETURN_IF_ERROR(
        c->WithRankAtLeast(c->input(counts.sparse_gradients() + sparse), 1, &rows));
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(counts.indices() + sparse), 1, &indices));
    TF_LS_RETURN_IF_ERROR(c->Merge(c->Dim(rows, 0), c->Dim(indices, 0), &ignored_dimension));
    TF_LS_RETURN_IF_ERROR(c->WithRankAtLeast(variable, 1, &variable));
    TF_LS_RETURN_IF_ERROR(c->Subshape(rows, 1, &row));
    TF_LS_RETURN_IF_ERROR(c->Subshape(variable, 1, &variable_row));
    TF_LS_RETURN_IF_ERROR(c->Merge(row, variable_row, &ignored));
  }
  TF_LS_RETURN_IF_ERROR(
      c->Merge(c->input(counts.weight_decay()), c->Vector(counts.variables), &ignored));
  for (size_t i = 0; i < std::size(kScalars); ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(counts.scalars() + i), 0, &ignored));
  }
  c->set_output(0, c->Scalar());
  c->set_output(1, c->Scalar());
  return Status();
}

// moments: the handles of all m, then of all v, in one tensor (LSStackHandles).
REGISTER_OP("LSAdam")
    .Input("variables: N * resource")
    .Input("moments: resource")
    .Input("dense_gradients: dense_types")
    .Input("sparse_gradients: sparse_types")
    .Input("indices: S * int64")
    .Input("weight_decay: float")
    .Input("learning_rate: float")
    .Input("beta1: double")
    .Input("beta2: double")
    .Input("beta1_power: float")
    .Input("beta2_power: float")
    .Input("epsilon: float")
    .Input("gradient_factor: float")
    .Input("clip_value: float")
    .Input("clip_norm: float")
    .Output("finite: bool")
    .Output("norm: float")
    .Attr("N: int >= 0")
    .Attr("S: int >= 0")
    .Attr("dense_types: list({float, half, bfloat16}) >= 0")
    .Attr("sparse_types: list({float, half, bfloat16}) >= 0")
    .Attr("clip_each: bool = false")
    .Attr("skip_nonfinite: bool = true")
    .SetIsStateful()
    .SetShapeFn(CheckShapes);

Status ReadScalars(OpKernelContext* context, const Counts& counts, AdamOptions* options) {
  double* const targets[] = {&options->learning_rate,   &options->beta1,       &options->beta2,
                             &options->beta1_power,     &options->beta2_power, &options->epsilon,
                             &options->gradient_factor, &options->clip_value,  &options->clip_norm};
  static_assert(std::size(targets) == std::size(kScalars), "one name for each");
  for (size_t i = 0; i < std::size(kScalars); ++i) {
    const Tensor& scalar = context->input(counts.scalars() + i);
    TF_LS_RETURN_IF_ERROR(CheckShape(scalar, {}, kScalars[i]));
    *targets[i] = scalar.dtype() == tensorflow::DT_DOUBLE ? scalar.scalar<double>()()
                                                          : scalar.scalar<float>()();
  }
  for (const int i : {0, 6}) {
    if (std::isfinite(*targets[i])) continue;
    return InvalidArgument(kScalars[i], " must be finite, got ", *targets[i]);
  }
  for (const int i : {1, 2, 3, 4}) {
    if (*targets[i] >= 0.0 && *targets[i] < 1.0) continue;
    return InvalidArgument(kScalars[i], " must be in [0, 1), got ", *targets[i]);
  }
  for (const int i : {5, 7, 8}) {
    if (*targets[i] >= 0.0) continue;
    return InvalidArgument(kScalars[i], " must not be negative, got ", *targets[i]);
  }
  return Status();
}

template <typename Device>
class AdamOp : public DeviceKernel<Device> {
 public:
  explicit AdamOp(OpKernelConstruction* construction) : DeviceKernel<Device>(construction) {
    OP_REQUIRES_OK(construction, ReadCounts(construction, &counts_));
    OP_REQUIRES_OK(construction, construction->GetAttr("clip_each", &clip_each_));
    OP_REQUIRES_OK(construction, construction->GetAttr("skip_nonfinite", &skip_nonfinite_));
  }

 protected:
  Status Run(OpKernelContext* context, DeviceContext<Device>* device) override {
    AdamOptions options;
    options.clip_each = clip_each_;
    options.skip_nonfinite = skip_nonfinite_;
    TF_LS_RETURN_IF_ERROR(ReadScalars(context, counts_, &options));
    const Tensor& weight_decay = context->input(counts_.weight_decay());
    TF_LS_RETURN_IF_ERROR(CheckShape(weight_decay, {counts_.variables}, "weight_decay"));

    const Tensor& moments = context->input(counts_.moments());
    TF_LS_RETURN_IF_ERROR(CheckShape(moments, {2 * counts_.variables}, "moments"));
    std::vector<const tensorflow::ResourceHandle*> handles;
    for (int i = 0; i < counts_.variables; ++i) {
      handles.push_back(&tensorflow::HandleFromInput(context, i));
    }
    for (int i = 0; i < moments.NumElements(); ++i) {
      handles.push_back(&moments.vec<tensorflow::ResourceHandle>()(i));
    }
    LockedVariables locked;
    TF_LS_RETURN_IF_ERROR(locked.Lock(context, std::move(handles)));
    for (int i = 0; i < counts_.variables; ++i) TF_LS_RETURN_IF_ERROR(Check(context, locked, i));

    // All is well: nothing was written before, nothing fails after.
    std::vector<AdamVariable> variables(counts_.variables);
    for (int i = 0; i < counts_.variables; ++i) {
      AdamVariable& variable = variables[i];
      float** const targets[] = {&variable.variable, &variable.m, &variable.v};
      for (int j = 0; j < 3; ++j) {
        TF_LS_RETURN_IF_ERROR(locked.Write(context, device, j * counts_.variables + i, targets[j]));
      }
      variable.size = locked.shape(i).num_elements();
      variable.weight_decay = weight_decay.vec<float>()(i);
      variable.gradient = device->Float(context->input(counts_.dense_gradients() + i));
      variable.sparse = i >= counts_.dense();
      if (!variable.sparse) continue;
      const Tensor& indices = context->input(counts_.indices() + i - counts_.dense());
      variable.indices = indices.flat<int64_t>().data();
      variable.row_count = indices.dim_size(0);
      device->Bring({{&variable.indices, variable.row_count}});
      variable.row_size = RowsShape(locked.shape(i), 1).num_elements();
    }
    Tensor *finite, *norm;
    TF_LS_RETURN_IF_ERROR(context->allocate_output(0, {}, &finite));
    TF_LS_RETURN_IF_ERROR(context->allocate_output(1, {}, &norm));
    Update(device->device(), options, variables, finite->flat<bool>().data(),
           norm->flat<float>().data());
    return Status();
  }

 private:
  static void Update(const Cpu& cpu, const AdamOptions& options,
                     const std::vector<AdamVariable>& variables, bool* finite, float* norm) {
    Adam(cpu, options, variables, finite, norm);
  }
  static void Update(const Gpu& gpu, const AdamOptions& options,
                     const std::vector<AdamVariable>& variables, bool* finite, float* norm) {
    auto* const bad_row = gpu.arena->template Allocate<int64_t>(1);  // there is none: see Check
    Adam(gpu, options, variables, finite, norm, bad_row);
  }

  // The shape of `rows` rows of a variable.
  static TensorShape RowsShape(TensorShape shape, int64_t rows) {
    shape.set_dim(0, rows);
    return shape;
  }

  // Moments and gradient of variable i against it.
  Status Check(OpKernelContext* context, const LockedVariables& locked, int i) const {
    const TensorShape& shape = locked.shape(i);
    for (const int moment : {counts_.variables + i, 2 * counts_.variables + i}) {
      if (locked.shape(moment) == shape) continue;
      return InvalidArgument("moment ", locked.name(moment), " must have the shape of variable ",
                             locked.name(i), ", ", shape.DebugString(), ", got ",
                             locked.shape(moment).DebugString());
    }
    const Tensor& gradient = context->input(counts_.dense_gradients() + i);
    if (i < counts_.dense()) {
      if (gradient.shape() == shape) return Status();  // without a message for each of hundreds
      return CheckShape(gradient, shape, "the gradient of variable " + locked.name(i));
    }
    if (shape.dims() < 1) {
      return InvalidArgument("a variable with a sparse gradient must have rows, variable ",
                             locked.name(i), " is a scalar");
    }
    const Tensor& indices = context->input(counts_.indices() + i - counts_.dense());
    TF_LS_RETURN_IF_ERROR(CheckRank(indices, 1, "indices of variable " + locked.name(i)));
    TF_LS_RETURN_IF_ERROR(CheckShape(gradient, RowsShape(shape, indices.dim_size(0)),
                                     "the sparse gradient of variable " + locked.name(i)));
    const auto index = indices.vec<int64_t>();
    for (int64_t j = 0; j < indices.dim_size(0); ++j) {
      if (index(j) >= 0 && index(j) < shape.dim_size(0)) continue;
      return InvalidArgument("index ", j, " of the gradient of variable ", locked.name(i),
                             " must be from 0 to ", shape.dim_size(0) - 1, ", got ", index(j));
    }
    return Status();
  }

  Counts counts_;
  bool clip_each_;
  bool skip_nonfinite_;
};

TF_LS_REGISTER("LSAdam", AdamOp,
               .HostMemory("variables")
                   .HostMemory("moments")
                   .HostMemory("indices")
                   .HostMemory("weight_decay")
                   .HostMemory("learning_rate")
                   .HostMemory("beta1")
                   .HostMemory("beta2")
                   .HostMemory("beta1_power")
                   .HostMemory("beta2_power")
                   .HostMemory("epsilon")
                   .HostMemory("gradient_factor")
                   .HostMemory("clip_value")
                   .HostMemory("clip_norm"))

}  // namespace
}  // namespace tf_ls
