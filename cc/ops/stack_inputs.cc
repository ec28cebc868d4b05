#include "cc/ops/stack_inputs.h"

#include "cc/ops/token_types.h"

namespace tf_ls {
namespace {

using tensorflow::errors::InvalidArgument;
using tensorflow::shape_inference::DimensionHandle;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

struct ListLengths {
  int positions, embedding_norm, norm, weights, layers;
};

Status CheckNorm(const char* name, int tensors) {
  if (tensors == 0 || tensors == 2) return Status();
  return InvalidArgument(name, " must be a list of gamma and beta, or empty, got ", tensors,
                         " tensors");
}

// Of a shape function's context, or of a kernel's construction.
template <typename Context>
Status ReadLists(Context* context, ListLengths* lists) {
  TF_LS_RETURN_IF_ERROR(context->GetAttr("P", &lists->positions));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("E", &lists->embedding_norm));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("G", &lists->norm));
  TF_LS_RETURN_IF_ERROR(ReadWeightCount(context, &lists->weights));
  TF_LS_RETURN_IF_ERROR(context->GetAttr("num_layers", &lists->layers));
  if (lists->positions > 1) {
    return InvalidArgument("there is at most one table of positions, got ", lists->positions);
  }
  TF_LS_RETURN_IF_ERROR(CheckNorm("embedding_norm", lists->embedding_norm));
  return CheckNorm("norm", lists->norm);
}

}  // namespace

Status StackAttributes::Read(tensorflow::OpKernelConstruction* construction) {
  ListLengths lists;
  TF_LS_RETURN_IF_ERROR(ReadLists(construction, &lists));
  TF_LS_RETURN_IF_ERROR(ReadLayerOptions(construction, &options));
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("scale", &scale));
  TF_LS_RETURN_IF_ERROR(construction->GetAttr("sinusoids", &sinusoids));
  layers = lists.layers;
  token_types = 1;
  if (construction->HasAttr("token_types"))
    TF_LS_RETURN_IF_ERROR(ReadTokenTypes(construction, &token_types));
  if (lists.positions == 0 || !sinusoids) return Status();
  return InvalidArgument("positions are given, and sinusoids wanted too");
}

Status CheckEndShapes(InferenceContext* c, int* next, ShapeHandle* table) {
  ListLengths lists;
  TF_LS_RETURN_IF_ERROR(ReadLists(c, &lists));
  ShapeHandle shape;
  TF_LS_RETURN_IF_ERROR(c->WithRank(c->input((*next)++), 2, table));
  DimensionHandle hidden = c->Dim(*table, 1);
  for (int i = 0; i < lists.positions; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input((*next)++), 2, &shape));
    TF_LS_RETURN_IF_ERROR(c->Merge(hidden, c->Dim(shape, 1), &hidden));
  }
  for (int i = 0; i < lists.embedding_norm + lists.norm; ++i) {
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input((*next)++), 1, &shape));
    TF_LS_RETURN_IF_ERROR(c->Merge(hidden, c->Dim(shape, 0), &hidden));
  }
  return c->ReplaceDim(*table, 1, hidden, table);
}

Status CheckLayerShapes(InferenceContext* c, int first, DimensionHandle hidden,
                        bool cross_attention, DimensionHandle memory_size) {
  ListLengths lists;
  TF_LS_RETURN_IF_ERROR(ReadLists(c, &lists));
  TF_LS_RETURN_IF_ERROR(CheckWeightCount(lists.weights, lists.layers, cross_attention));
  const int of_layer = WeightCount(cross_attention);
  for (int i = 0; i < lists.layers; ++i) {
    TF_LS_RETURN_IF_ERROR(
        CheckWeightShapes(c, first + i * of_layer, of_layer, hidden, cross_attention, memory_size));
  }
  ShapeHandle scales;
  for (int i = first + lists.weights; i < c->num_inputs(); ++i)
    TF_LS_RETURN_IF_ERROR(c->WithRank(c->input(i), 1, &scales));
  return Status();
}

bool HasCrossAttention(int weights, int layers) { return weights != layers * WeightCount(false); }

Status CheckWeightCount(int weights, int layers, bool cross_attention) {
  const int of_layer = WeightCount(cross_attention);
  if (weights == layers * of_layer) return Status();
  return InvalidArgument("expected ", of_layer, " weights of each of ", layers, " layers, got ",
                         weights);
}

}  // namespace tf_ls
