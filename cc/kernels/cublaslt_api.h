#ifndef TF_LS_CC_KERNELS_CUBLASLT_API_H_
#define TF_LS_CC_KERNELS_CUBLASLT_API_H_

#include <cstddef>
#include <cstdint>

// The part of cuBLASLt's C interface that is used here, which has been the same from CUDA 11 to 13
// (NVIDIA, cuBLAS library documentation, "Using the cuBLASLt API"). The library is opened at run
// time, so building needs neither it nor its headers, which not every CUDA toolkit brings.
struct CUstream_st;

namespace tf_ls {
namespace cublaslt {

using Handle = void*;
using MatmulDescription = void*;
using MatrixLayout = void*;
using Preference = void*;

using Status = int;
constexpr Status kSuccess = 0;

enum DataType : int { kFloat32 = 0, kFloat16 = 2, kBfloat16 = 14 };
enum ComputeType : int { kComputeFloat32 = 68, kComputeTf32 = 77 };
enum Operation : int32_t { kAsItIs = 0, kTransposed = 1 };
enum Epilogue : int32_t { kNoEpilogue = 1, kBias = 4 };
enum PointerMode : int32_t { kHostScalars = 0, kGpuScalars = 1 };
enum MatmulAttribute : int {
  kPointerMode = 2,
  kTransposeA = 3,
  kTransposeB = 4,
  kEpilogue = 7,
  kBiasPointer = 8,
};
enum PreferenceAttribute : int {
  kMaxWorkspaceBytes = 1,
  kMinAlignmentA = 5,
  kMinAlignmentB = 6,
  kMinAlignmentC = 7,
  kMinAlignmentD = 8,
};

struct Algorithm {
  uint64_t data[8];
};
struct HeuristicResult {
  Algorithm algorithm;
  size_t workspace_bytes;
  Status state;
  float waves;
  int reserved[4];
};

struct Api {
  Status (*Create)(Handle*);
  Status (*MatmulDescCreate)(MatmulDescription*, ComputeType, DataType scale);
  Status (*MatmulDescSetAttribute)(MatmulDescription, MatmulAttribute, const void*, size_t);
  Status (*MatmulDescDestroy)(MatmulDescription);
  Status (*MatrixLayoutCreate)(MatrixLayout*, DataType, uint64_t rows, uint64_t columns,
                               int64_t leading_dimension);
  Status (*MatrixLayoutDestroy)(MatrixLayout);
  Status (*MatmulPreferenceCreate)(Preference*);
  Status (*MatmulPreferenceSetAttribute)(Preference, PreferenceAttribute, const void*, size_t);
  Status (*MatmulPreferenceDestroy)(Preference);
  Status (*MatmulAlgoGetHeuristic)(Handle, MatmulDescription, MatrixLayout a, MatrixLayout b,
                                   MatrixLayout c, MatrixLayout d, Preference, int wanted,
                                   HeuristicResult*, int* found);
  Status (*Matmul)(Handle, MatmulDescription, const void* alpha, const void* a, MatrixLayout,
                   const void* b, MatrixLayout, const void* beta, const void* c, MatrixLayout,
                   void* d, MatrixLayout, const Algorithm*, void* workspace, size_t workspace_bytes,
                   CUstream_st*);
};

}  // namespace cublaslt
}  // namespace tf_ls

#endif  // TF_LS_CC_KERNELS_CUBLASLT_API_H_
