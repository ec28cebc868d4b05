#include <cub/device/device_radix_sort.cuh>

#include "cc/kernels/gpu_primitives.cu.h"
#include "cc/kernels/group_rows.h"

namespace tf_ls {
namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) Count(int32_t rows, int32_t* numbers) {
  const int32_t i = blockIdx.x * kThreads + threadIdx.x;
  if (i < rows) numbers[i] = i;
}

// starts[i]: how many of the sorted keys are below i.
__global__ void __launch_bounds__(kThreads)
    FindStarts(const int32_t* keys, int32_t rows, int32_t groups, int32_t* starts) {
  const int64_t group = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (group > groups) return;
  int32_t begin = 0;
  int32_t end = rows;
  while (begin < end) {
    const int32_t middle = begin + (end - begin) / 2;
    if (keys[middle] < group) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  starts[group] = begin;
}

int BitCount(int32_t largest) {
  int bits = 1;
  while (bits < 31 && largest >> bits > 0) ++bits;
  return bits;
}

}  // namespace

RowGroups GroupRows(const Gpu& gpu, const int32_t* keys, int32_t rows, int32_t groups) {
  int32_t* const starts = gpu.arena->Allocate<int32_t>(groups + int64_t{1});
  int32_t* const order = gpu.arena->Allocate<int32_t>(rows);
  const ArenaScope scope(gpu.arena);
  int32_t* const numbers = gpu.arena->Allocate<int32_t>(rows);
  int32_t* const sorted = gpu.arena->Allocate<int32_t>(rows);
  if (rows > 0) {
    Count<<<gpu::Blocks(rows, kThreads), kThreads, 0, gpu.stream>>>(rows, numbers);
    gpu::CheckLaunch();
    size_t bytes = 0;
    const auto sort = [&](void* scratch) {
      // Stable: rows of the same key stay in their order.
      gpu::Check(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, sorted, numbers, order, rows,
                                                 0, BitCount(groups), gpu.stream));
    };
    sort(nullptr);  // tells how much it needs
    sort(gpu.arena->Allocate<unsigned char>(bytes));
  }
  FindStarts<<<gpu::Blocks(groups + int64_t{1}, kThreads), kThreads, 0, gpu.stream>>>(
      sorted, rows, groups, starts);
  gpu::CheckLaunch();
  return {starts, order};
}

}  // namespace tf_ls
