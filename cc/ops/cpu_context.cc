#include "cc/ops/cpu_context.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "cc/core/shared_work.h"

namespace tf_ls {
namespace {

using tensorflow::Tensor;

template <typename From, typename To>
void Cast(const Cpu& cpu, const From* from, int64_t count, To* to) {
  cpu.threads->ParallelFor(count, 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) to[i] = static_cast<To>(from[i]);
  });
}

template <typename TensorType>
const float* Widened(const Cpu& cpu, const Tensor& tensor, Arena* memory) {
  float* const wide = memory->Allocate<float>(tensor.NumElements());
  Cast(cpu, tensor.flat<TensorType>().data(), tensor.NumElements(), wide);
  return wide;
}

// Cycles that are worth waking another thread for, and those that are worth handing over to one
// that looks for work; those of a piece of work.
constexpr int64_t kWorthWaking = 1 << 16;
constexpr int64_t kWorthHandingOver = 1 << 13;
constexpr int64_t kPieceCycles = 1 << 14;
constexpr int64_t kCrewPieceCycles = 1 << 12;
// Of each thread's work, so that one that comes late gets less.
constexpr int64_t kPieces = 4;

}  // namespace

void TensorFlowThreads::FormCrew() {
  if (crew_ != nullptr) return;
  crew_ = std::make_unique<WorkCrew>(workers_->NumThreads() - 1, [this](std::function<void()> run) {
    workers_->Schedule(std::move(run));
  });
}

void TensorFlowThreads::Share(int64_t total, int64_t cost,
                              const std::function<void(int64_t, int64_t)>& work) {
  if (total <= 0) return;
  const int64_t threads = std::min<int64_t>(workers_->NumThreads(), total);
  const int64_t cycles = total * cost;
  const bool wakes = cycles >= kWorthWaking;
  const bool hands_over = crew_ != nullptr && cycles >= kWorthHandingOver && crew_->looking() > 0;
  if (threads <= 1 || !(wakes || hands_over)) return work(0, total);
  const int64_t piece_cycles = crew_ == nullptr ? kPieceCycles : kCrewPieceCycles;
  const int64_t least = piece_cycles / std::max<int64_t>(1, cost);
  const int64_t piece = std::max<int64_t>({1, least, total / (threads * kPieces)});
  if (crew_ != nullptr) return crew_->Share(total, piece, wakes, work);
  const auto shared = std::make_shared<SharedWork>(total, piece, work);
  const int64_t pieces = (total + piece - 1) / piece;
  for (int64_t i = 1; i < std::min(threads, pieces); ++i)
    workers_->Schedule([shared] { shared->Help(); });
  shared->Finish();
}

const float* DeviceContext<Cpu>::Float(const Tensor& tensor, Arena* memory) {
  if (memory == nullptr) memory = &arena_;
  switch (tensor.dtype()) {
    case tensorflow::DT_HALF:
      return Widened<Eigen::half>(cpu_, tensor, memory);
    case tensorflow::DT_BFLOAT16:
      return Widened<tensorflow::bfloat16>(cpu_, tensor, memory);
    default:
      return tensor.flat<float>().data();
  }
}

template <>
const float* DeviceContext<Cpu>::Read<float>(const Tensor& tensor) {
  return Float(tensor);
}

template <>
const bfloat16* DeviceContext<Cpu>::Read<bfloat16>(const Tensor& tensor) {
  return reinterpret_cast<const bfloat16*>(tensor.flat<tensorflow::bfloat16>().data());
}

template <>
float* DeviceContext<Cpu>::Write<float>(Tensor* tensor) {
  if (tensor->dtype() == tensorflow::DT_FLOAT) return tensor->flat<float>().data();
  const int64_t count = tensor->NumElements();
  float* const wide = arena_.Allocate<float>(count);
  unfinished_.push_back([this, tensor, count, wide] {
    if (tensor->dtype() == tensorflow::DT_HALF) {
      Cast(cpu_, wide, count, tensor->flat<Eigen::half>().data());
    } else {
      Cast(cpu_, wide, count, tensor->flat<tensorflow::bfloat16>().data());
    }
  });
  return wide;
}

template <>
bfloat16* DeviceContext<Cpu>::Write<bfloat16>(Tensor* tensor) {
  return reinterpret_cast<bfloat16*>(tensor->flat<tensorflow::bfloat16>().data());
}

void DeviceContext<Cpu>::Finish() {
  for (const auto& finish : unfinished_) finish();
  unfinished_.clear();
}

template <typename T>
PackedWeights DeviceContext<Cpu>::PrepareLoop(const std::vector<WeightPiece>& weights,
                                              Arena* memory) const {
  PackedWeights packed;
  std::vector<WeightPiece> int8, others;
  for (const WeightPiece& weight : weights) (weight.IsInt8() ? int8 : others).push_back(weight);
  void* place = memory->Allocate<unsigned char>(PlacePacked<T>(others, nullptr, nullptr));
  PackWeights<T>(cpu_, others, place);
  PlacePacked<T>(others, place, &packed);
  place = memory->Allocate<unsigned char>(PlaceInt8(int8, nullptr, nullptr));
  PackInt8(cpu_, int8, place);
  PlaceInt8(int8, place, &packed);
  return packed;
}
template PackedWeights DeviceContext<Cpu>::PrepareLoop<float>(const std::vector<WeightPiece>&,
                                                              Arena*) const;
template PackedWeights DeviceContext<Cpu>::PrepareLoop<bfloat16>(const std::vector<WeightPiece>&,
                                                                 Arena*) const;

void DeviceContext<Cpu>::Copy(const void* from, size_t bytes, void* to) {
  threads_.ParallelFor(bytes, 1, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                end - begin);
  });
}

void DeviceContext<Cpu>::Clear(void* to, size_t bytes) { std::memset(to, 0, bytes); }

}  // namespace tf_ls
