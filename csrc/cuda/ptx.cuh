// The instructions that C++ has no word for, from sm_80 on: asynchronous copies, matrix loads and matrix products; and the
// dynamic shared memory and element types beside them. Nothing else in this folder contains assembly.
//
// tests/cuda/emulated_ptx.h defines the same names for the host, so that the kernels run, line by line, without a GPU.
#pragma once
#include <cstdint>

#ifndef MULTIPATH_GCN_EMULATION
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace multipath_gcn::gpu {

__device__ __forceinline__ unsigned char* shared_memory() {
  extern __shared__ __align__(16) unsigned char multipath_gcn_shared[];
  return multipath_gcn_shared;
}

// What lies at an address, which must be aligned for it.
template <typename V, typename T>
__device__ __forceinline__ V& aligned_at(T* address) {
  return *reinterpret_cast<V*>(address);
}

// threadIdx.x, read anew: what is computed from it is computed where it is used, and not kept in registers over a loop.
__device__ __forceinline__ int thread_anew() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
  return thread;
}

// kBytes (4, 8 or 16, aligned) from global to shared memory, or as many zeros; done once copy_wait has counted it.
template <int kBytes>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool valid) {
  const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(to));
  const int bytes = valid ? kBytes : 0;
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared), "l"(from), "r"(bytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(shared), "l"(from), "n"(kBytes), "r"(bytes)
                 : "memory");
  }
}

__device__ __forceinline__ void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Until at most kPending of this thread's groups are under way.
template <int kPending>
__device__ __forceinline__ void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Four 8 x 8 matrices of 16-bit elements; lane l names row l % 8 of matrix l / 8 (16 bytes, aligned). Word i of lane l is
// elements 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of matrix i; of column l / 4 where transposed.
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], const void* row) {
  const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared)
               : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&words)[4], const void* row) {
  const auto shared = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared)
               : "memory");
}

#define MULTIPATH_GCN_MMA(instruction)                                                                        \
  asm volatile(instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"                 \
               : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                       \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

// sum [16, 8] += a [16, 32 bytes] b [32 bytes, 8]: m16n8k16 for 16-bit elements, m16n8k8 for TF32.
template <typename T>
__device__ __forceinline__ void multiply_add(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void multiply_add<__nv_bfloat16>(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MULTIPATH_GCN_MMA("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32");
}

template <>
__device__ __forceinline__ void multiply_add<__half>(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MULTIPATH_GCN_MMA("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32");
}

template <>
__device__ __forceinline__ void multiply_add<float>(float (&sum)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  MULTIPATH_GCN_MMA("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32");
}
#undef MULTIPATH_GCN_MMA

__device__ __forceinline__ uint32_t round_to_tf32(float value) {
  uint32_t word;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
  return word;
}

__device__ __forceinline__ float widen(float value) { return value; }
__device__ __forceinline__ double widen(double value) { return value; }
__device__ __forceinline__ float widen(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float widen(__half value) { return __half2float(value); }

template <typename T, typename S>
__device__ __forceinline__ T narrow(S value) {
  return static_cast<T>(value);  // float and double; the 16-bit types convert from float, to the nearest
}

}  // namespace multipath_gcn::gpu
#endif
