// Copies of whole tiles between global and shared memory, as wide as the addresses allow.
#pragma once
#include "window.cuh"

namespace multipath_gcn::gpu {

template <typename T>
struct Source {
  const T* from;
  bool valid;
};

// to[line * stride + at] = source(line, at), or zero, for kLines lines of kRun elements, kBytes at a time.
template <int kBytes, int kLines, int kRun, typename T, typename F>
__device__ __forceinline__ void copy_lines_by(T* to, int stride, const F& source) {
  constexpr int kElements = kBytes / sizeof(T), kPerLine = kRun / kElements, kCopies = kLines * kPerLine;
  const int thread = thread_anew();
  [[maybe_unused]] constexpr int kUnroll = kBytes == 16 ? kCopies / kThreads + 1 : kBytes >= 4 ? 1 : 4;
#pragma unroll kUnroll
  for (int first = 0; first < kCopies; first += kThreads) {
    const int e = first + thread;
    if (kCopies % kThreads != 0 && e >= kCopies) break;
    const int line = e / kPerLine, at = e % kPerLine * kElements;
    const Source<T> s = source(line, at);
    T* target = to + line * stride + at;
    if constexpr (kBytes >= 4) {
      copy_async<kBytes>(target, s.from, s.valid);
    } else {
      *target = s.valid ? *s.from : narrow<T>(0.0f);
    }
  }
}

template <int kLines, int kRun, typename T, typename F>
__device__ __forceinline__ void copy_lines(int bytes, T* to, int stride, const F& source) {
  if (bytes == 16) {
    copy_lines_by<16, kLines, kRun>(to, stride, source);
  } else if (sizeof(T) == 4 || bytes == 4) {
    copy_lines_by<4, kLines, kRun>(to, stride, source);
  } else {
    copy_lines_by<sizeof(T), kLines, kRun>(to, stride, source);
  }
}

// The element of every line at which a thread's copies begin: the same for all of them, as a line's copies divide a block.
template <int kRun, typename T>
__device__ __forceinline__ int copy_position(int bytes) {
  const int elements = bytes / static_cast<int>(sizeof(T));
  return static_cast<int>(threadIdx.x) * elements % kRun;
}

template <int kBytes>
struct Word;
template <>
struct Word<16> {
  using type = uint4;
};
template <>
struct Word<4> {
  using type = uint32_t;
};
template <>
struct Word<2> {
  using type = uint16_t;
};

// The way back: target(line, at), unless null, takes from[line * stride + at].
template <int kBytes, int kLines, int kRun, typename T, typename F>
__device__ __forceinline__ void store_lines_by(const T* from, int stride, const F& target) {
  using W = typename Word<kBytes>::type;
  constexpr int kElements = kBytes / sizeof(T), kPerLine = kRun / kElements;
#pragma unroll 2
  for (int e = threadIdx.x; e < kLines * kPerLine; e += kThreads) {
    const int line = e / kPerLine, at = e % kPerLine * kElements;
    if (T* to = target(line, at)) *reinterpret_cast<W*>(to) = *reinterpret_cast<const W*>(from + line * stride + at);
  }
}

template <int kLines, int kRun, typename T, typename F>
__device__ __forceinline__ void store_lines(int bytes, const T* from, int stride, const F& target) {
  if (bytes == 16) {
    store_lines_by<16, kLines, kRun>(from, stride, target);
  } else if (sizeof(T) == 4 || bytes == 4) {
    store_lines_by<4, kLines, kRun>(from, stride, target);
  } else {
    store_lines_by<sizeof(T), kLines, kRun>(from, stride, target);
  }
}

}  // namespace multipath_gcn::gpu
