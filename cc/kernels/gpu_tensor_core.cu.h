#ifndef TF_LS_CC_KERNELS_GPU_TENSOR_CORE_CU_H_
#define TF_LS_CC_KERNELS_GPU_TENSOR_CORE_CU_H_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "cc/core/bfloat16.h"
#include "cc/core/float16.h"

// Tensor cores as the instruction mma.m16n8k16 drives them, and copies into shared memory that run
// beside computing. Needs compute capability 8.0; see the PTX manual, "Matrix fragments for
// mma.m16n8k16", for who holds which numbers:
//   lane 4 * g + t has rows g and g + 8, columns 2 * t and 2 * t + 1 of the 16 x 8 result.
namespace tf_ls {
namespace gpu {

// A product's left factor, 16 x 16; its right factor, 16 x 8; its result, 16 x 8.
struct LeftFragment {
  uint32_t pairs[4];
};
struct RightFragment {
  uint32_t pairs[2];
};
struct ResultFragment {
  float values[4];

  __device__ void Clear() { values[0] = values[1] = values[2] = values[3] = 0.0f; }
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800

__device__ inline void MultiplyAdd(float16, const LeftFragment& a, const RightFragment& b,
                                   ResultFragment* c) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};"
      : "+f"(c->values[0]), "+f"(c->values[1]), "+f"(c->values[2]), "+f"(c->values[3])
      : "r"(a.pairs[0]), "r"(a.pairs[1]), "r"(a.pairs[2]), "r"(a.pairs[3]), "r"(b.pairs[0]),
        "r"(b.pairs[1]));
}
__device__ inline void MultiplyAdd(bfloat16, const LeftFragment& a, const RightFragment& b,
                                   ResultFragment* c) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c->values[0]), "+f"(c->values[1]), "+f"(c->values[2]), "+f"(c->values[3])
      : "r"(a.pairs[0]), "r"(a.pairs[1]), "r"(a.pairs[2]), "r"(a.pairs[3]), "r"(b.pairs[0]),
        "r"(b.pairs[1]));
}

// Starts to copy 16 bytes, or to write 16 zeros where nothing is `there`.
__device__ inline void StartCopy(const void* from, bool there, void* shared) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(shared))),
               "l"(from), "r"(there ? 16 : 0)
               : "memory");
}
// Waits for the copies that this thread started.
__device__ inline void FinishCopies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

#else

template <typename T>
__device__ void MultiplyAdd(T, const LeftFragment&, const RightFragment&, ResultFragment*) {
  __trap();
}
__device__ inline void StartCopy(const void*, bool, void*) { __trap(); }
__device__ inline void FinishCopies() { __trap(); }

#endif

// Four 8 x 8 matrices whose rows of 16 bytes lie where the lanes say, eight each.
template <bool transposed>
__device__ void LoadMatrices(const void* row, uint32_t (&matrices)[4]) {
  const auto address = static_cast<uint32_t>(__cvta_generic_to_shared(row));
  if constexpr (transposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
  }
}

// A matrix in shared memory, `width` numbers a row. Eight numbers lie between rows, so that eight
// rows' next 16 bytes are in different banks.
template <typename T, int width>
struct SharedMatrix {
  static constexpr int kStride = width + 8;
  static constexpr int Bytes(int rows) { return rows * kStride * static_cast<int>(sizeof(T)); }

  T* data;

  __device__ T* At(int row, int column) const { return data + row * kStride + column; }

  // Rows [row, row + 16), columns [column, column + 16), as a left factor.
  __device__ LeftFragment Left(int row, int column) const {
    LeftFragment a;
    const int lane = threadIdx.x % 32;
    LoadMatrices<false>(At(row + lane % 16, column + lane / 16 * 8), a.pairs);
    return a;
  }
  // The transpose of rows [row, row + 16), columns [column, column + 16), as a left factor.
  __device__ LeftFragment LeftTransposed(int row, int column) const {
    LeftFragment a;
    const int lane = threadIdx.x % 32;
    LoadMatrices<true>(At(row + lane / 16 * 8 + lane % 8, column + lane / 8 % 2 * 8), a.pairs);
    return a;
  }
  // Rows [row, row + 16), columns [column, column + 16), as two right factors side by side.
  __device__ void Right(int row, int column, RightFragment (&b)[2]) const {
    uint32_t matrices[4];
    const int lane = threadIdx.x % 32;
    LoadMatrices<true>(At(row + lane % 16, column + lane / 16 * 8), matrices);
    b[0] = {matrices[0], matrices[1]};
    b[1] = {matrices[2], matrices[3]};
  }
  // The transpose of rows [row, row + 16), columns [column, column + 16), likewise.
  __device__ void RightTransposed(int row, int column, RightFragment (&b)[2]) const {
    uint32_t matrices[4];
    const int lane = threadIdx.x % 32;
    LoadMatrices<false>(At(row + lane / 16 * 8 + lane % 8, column + lane / 8 % 2 * 8), matrices);
    b[0] = {matrices[0], matrices[1]};
    b[1] = {matrices[2], matrices[3]};
  }
};

}  // namespace gpu
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_GPU_TENSOR_CORE_CU_H_
