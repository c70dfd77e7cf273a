// Vectors of one instruction set: included by each channel_transform_<isa>.cpp inside its namespace, after it has defined
// ISA_TARGET (a function attribute) and VECTOR_BYTES. GCC's and clang's vector types keep the code free of intrinsics.

#define ISA_INLINE ISA_TARGET inline __attribute__((always_inline))

template <typename A>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(VECTOR_BYTES)));
  typedef float loose __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));
  typedef int32_t mask __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int lanes = VECTOR_BYTES / 4;
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(VECTOR_BYTES)));
  typedef double loose __attribute__((vector_size(VECTOR_BYTES), aligned(8), may_alias));
  typedef int64_t mask __attribute__((vector_size(VECTOR_BYTES)));
  static constexpr int lanes = VECTOR_BYTES / 8;
};
typedef uint16_t Half16 __attribute__((vector_size(VECTOR_BYTES / 2)));
typedef uint16_t LooseHalf16 __attribute__((vector_size(VECTOR_BYTES / 2), aligned(2), may_alias));
typedef uint32_t Word __attribute__((vector_size(VECTOR_BYTES)));

template <typename A>
using Vec = typename VectorOf<A>::type;

template <typename A>
constexpr int kLanes = VectorOf<A>::lanes;

// Points that one step of a vector over points takes in: pairs of bfloat16 where they are multiplied as such.
template <typename T>
constexpr int kPointsPerVector = kLanes<Accumulator<T>> * (HAS_PAIR_DOT && sizeof(T) == 2 ? 2 : 1);

template <typename A>
ISA_INLINE Vec<A> broadcast(A value) {
  return value - Vec<A>{};  // - 0, unlike + 0, keeps the sign of -0
}

ISA_INLINE Vec<float> load(const float* p) { return *reinterpret_cast<const VectorOf<float>::loose*>(p); }
ISA_INLINE Vec<double> load(const double* p) { return *reinterpret_cast<const VectorOf<double>::loose*>(p); }
ISA_INLINE Vec<float> load(const BFloat16* p) {
  const Half16 half = *reinterpret_cast<const LooseHalf16*>(p);
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(half, Word) << 16);
}

ISA_INLINE void store(float* p, Vec<float> v) { *reinterpret_cast<VectorOf<float>::loose*>(p) = v; }
ISA_INLINE void store(double* p, Vec<double> v) { *reinterpret_cast<VectorOf<double>::loose*>(p) = v; }
ISA_INLINE Half16 to_bfloat16(Vec<float> v) {  // to nearest, ties to even; NaN stays NaN
#if HAS_PAIR_DOT
  return reinterpret_cast<Half16>(_mm512_cvtneps_pbh(v));
#else
  const Word bits = reinterpret_cast<Word>(v);
  const Word rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Word quiet = (bits >> 16) | 0x40;
  const Word nan = reinterpret_cast<Word>(v != v);
  return __builtin_convertvector((rounded & ~nan) | (quiet & nan), Half16);
#endif
}
// Pairs of neighbouring bfloat16, wherever they lie, in the lanes of floats: to be moved, not to be computed with.
typedef uint32_t LooseWord __attribute__((vector_size(VECTOR_BYTES), aligned(2), may_alias));

ISA_INLINE Vec<float> load_words(const BFloat16* p) {
  return reinterpret_cast<Vec<float>>(*reinterpret_cast<const LooseWord*>(p));
}
ISA_INLINE void store_words(BFloat16* p, Vec<float> v) { *reinterpret_cast<LooseWord*>(p) = reinterpret_cast<Word>(v); }
// Lane by lane: low in the first half of a word, high in the second.
ISA_INLINE Vec<float> pair_of_bfloat16(Vec<float> low, Vec<float> high) {
  const Word first = __builtin_convertvector(to_bfloat16(low), Word), second = __builtin_convertvector(to_bfloat16(high), Word);
  return reinterpret_cast<Vec<float>>(first | second << 16);
}
ISA_INLINE void store(BFloat16* p, Vec<float> v) { *reinterpret_cast<LooseHalf16*>(p) = to_bfloat16(v); }

ISA_INLINE void multiply_add(Vec<float>& sum, Vec<float> a, Vec<float> b) { sum += a * b; }
ISA_INLINE void multiply_add(Vec<double>& sum, Vec<double> a, Vec<double> b) { sum += a * b; }

#if HAS_PAIR_DOT
// Pairs of neighbouring points are read where any bfloat16 may lie.
ISA_INLINE Word load(const Pair* p) { return *reinterpret_cast<const LooseWord*>(p); }
ISA_INLINE void store(Pair* p, Word v) { *reinterpret_cast<LooseWord*>(p) = v; }
ISA_INLINE Word broadcast(Pair pair) { return pair.bits - Word{}; }
ISA_INLINE void multiply_add(Vec<float>& sum, Word a, Word b) {
  sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
#endif

// The points that lie at p: a vector of values, or of pairs of them.
template <typename T>
ISA_INLINE auto load_points(const T* p) {
#if HAS_PAIR_DOT
  if constexpr (sizeof(T) == 2) {
    return load(reinterpret_cast<const Pair*>(p));
  } else {
    return load(p);
  }
#else
  return load(p);
#endif
}

// Past the caches, for results too large to be found there again; p aligned to a vector.
#if VECTOR_BYTES == 64
typedef float Float8 __attribute__((vector_size(32)));
#endif

template <typename T>
ISA_INLINE void stream(T* p, Vec<Accumulator<T>> v) {
#if defined(__clang__)
  __builtin_nontemporal_store(v, reinterpret_cast<Vec<Accumulator<T>>*>(p));
#elif VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) __builtin_ia32_movntps512(reinterpret_cast<float*>(p), reinterpret_cast<Vec<float>>(v));
  else if constexpr (sizeof(T) == 8) __builtin_ia32_movntpd512(reinterpret_cast<double*>(p), reinterpret_cast<Vec<double>>(v));
  else __builtin_ia32_movntps256(reinterpret_cast<float*>(p), reinterpret_cast<Float8>(to_bfloat16(v)));
#elif VECTOR_BYTES == 32
  if constexpr (sizeof(T) == 4) __builtin_ia32_movntps256(reinterpret_cast<float*>(p), reinterpret_cast<Vec<float>>(v));
  else if constexpr (sizeof(T) == 8) __builtin_ia32_movntpd256(reinterpret_cast<double*>(p), reinterpret_cast<Vec<double>>(v));
  else store(p, v);
#else
  store(p, v);
#endif
}

// The first n lanes; the others are 0. Memory past them is not touched.
#if VECTOR_BYTES == 64
ISA_INLINE uint32_t first_lanes(int64_t n) { return (uint32_t{1} << n) - 1; }
#elif VECTOR_BYTES == 32 && defined(__x86_64__)
template <typename A>
ISA_INLINE __m256i first_lanes(int64_t n) {
  using Lane = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  typename VectorOf<A>::mask lane;
  for (int l = 0; l < kLanes<A>; ++l) lane[l] = l;
  return reinterpret_cast<__m256i>(lane < static_cast<Lane>(n) - typename VectorOf<A>::mask{});
}
#endif

template <typename T>
ISA_INLINE Vec<Accumulator<T>> load_some(const T* p, int64_t n) {
#if VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) return reinterpret_cast<Vec<Accumulator<T>>>(_mm512_maskz_loadu_ps(first_lanes(n), p));
  if constexpr (sizeof(T) == 8) return reinterpret_cast<Vec<Accumulator<T>>>(_mm512_maskz_loadu_pd(first_lanes(n), p));
  if constexpr (sizeof(T) == 2) {
    const Half16 half = reinterpret_cast<Half16>(_mm256_maskz_loadu_epi16(first_lanes(n), p));
    return reinterpret_cast<Vec<Accumulator<T>>>(__builtin_convertvector(half, Word) << 16);
  }
#elif VECTOR_BYTES == 32 && defined(__x86_64__)
  if constexpr (std::is_same_v<T, float>) return reinterpret_cast<Vec<float>>(_mm256_maskload_ps(p, first_lanes<float>(n)));
  if constexpr (std::is_same_v<T, double>) return reinterpret_cast<Vec<double>>(_mm256_maskload_pd(p, first_lanes<double>(n)));
#endif
  T lanes[kLanes<Accumulator<T>>] = {};
  __builtin_memcpy(lanes, p, n * sizeof(T));
  return load(lanes);
}
template <typename T>
ISA_INLINE void store_some(T* p, Vec<Accumulator<T>> v, int64_t n) {
#if VECTOR_BYTES == 64
  if constexpr (sizeof(T) == 4) return _mm512_mask_storeu_ps(p, first_lanes(n), reinterpret_cast<__m512>(v));
  if constexpr (sizeof(T) == 8) return _mm512_mask_storeu_pd(p, first_lanes(n), reinterpret_cast<__m512d>(v));
  if constexpr (sizeof(T) == 2)
    return _mm256_mask_storeu_epi16(p, first_lanes(n), reinterpret_cast<__m256i>(to_bfloat16(reinterpret_cast<Vec<float>>(v))));
#elif VECTOR_BYTES == 32 && defined(__x86_64__)
  if constexpr (std::is_same_v<T, float>) return _mm256_maskstore_ps(p, first_lanes<float>(n), reinterpret_cast<__m256>(v));
  if constexpr (std::is_same_v<T, double>) return _mm256_maskstore_pd(p, first_lanes<double>(n), reinterpret_cast<__m256d>(v));
#endif
  T lanes[kLanes<Accumulator<T>>];
  store(lanes, v);
  __builtin_memcpy(p, lanes, n * sizeof(T));
}

// Lanes [begin, end) of a vector, or of the one or two that lie at p; the others are 0, and their memory is not touched.
#if VECTOR_BYTES == 64
using Between = uint32_t;
ISA_INLINE Between between(int64_t begin, int64_t end) {
  return end > begin ? static_cast<uint32_t>(((uint64_t{1} << end) - 1) & ~((uint64_t{1} << begin) - 1)) : 0;
}
template <typename T>
ISA_INLINE Vec<Accumulator<T>> load_between(const T* p, Between lanes) {
  if constexpr (sizeof(T) == 4) return reinterpret_cast<Vec<Accumulator<T>>>(_mm512_maskz_loadu_ps(lanes, p));
  if constexpr (sizeof(T) == 8) return reinterpret_cast<Vec<Accumulator<T>>>(_mm512_maskz_loadu_pd(lanes, p));
  if constexpr (sizeof(T) == 2) {
    const Half16 half = reinterpret_cast<Half16>(_mm256_maskz_loadu_epi16(lanes, p));
    return reinterpret_cast<Vec<Accumulator<T>>>(__builtin_convertvector(half, Word) << 16);
  }
}
#else
struct Between {
  int8_t begin, end;
};
ISA_INLINE Between between(int64_t begin, int64_t end) { return {static_cast<int8_t>(begin), static_cast<int8_t>(end)}; }
template <typename T>
ISA_INLINE Vec<Accumulator<T>> load_between(const T* p, Between lanes) {
  if (lanes.begin == 0 && lanes.end == kLanes<Accumulator<T>>) return load(p);
  Vec<Accumulator<T>> v{};
  for (int l = lanes.begin; l < lanes.end; ++l) v[l] = widen(p[l]);
  return v;
}
#endif
// Of those of two vectors, every second: lane l is that at p[2 l].
template <typename T>
ISA_INLINE Vec<Accumulator<T>> load_every_second(const T* p, Between lanes) {
  using A = Accumulator<T>;
#if VECTOR_BYTES == 64
  constexpr int L = kLanes<A>;
  const Vec<A> low = load_between(p, lanes & ((1u << L) - 1)), high = load_between(p + L, lanes >> L);
  typename VectorOf<A>::mask even;
#pragma GCC unroll 16
  for (int l = 0; l < L; ++l) even[l] = 2 * l;
  return __builtin_shuffle(low, high, even);
#else
  Vec<A> v{};
  for (int l = (lanes.begin + 1) / 2; 2 * l < lanes.end; ++l) v[l] = widen(p[2 * l]);
  return v;
#endif
}

// Lane l of the result is lane from[l] of v.
template <typename A>
ISA_INLINE Vec<A> permute(Vec<A> v, typename VectorOf<A>::mask from) {
  return __builtin_shuffle(v, from);
}

// Lanes FROM, FROM + 1, ... of a and b by turns.
template <typename A, int FROM>
ISA_INLINE Vec<A> weave(Vec<A> a, Vec<A> b) {
  typename VectorOf<A>::mask m{};
#pragma GCC unroll 16
  for (int l = 0; l < kLanes<A>; ++l) m[l] = FROM + l / 2 + (l % 2) * kLanes<A>;
  return __builtin_shuffle(a, b, m);
}

// Of every pair of blocks of S lanes: low keeps a's first and takes b's first, high keeps b's second and takes a's second.
template <typename A, int S, bool High>
ISA_INLINE Vec<A> exchange(Vec<A> a, Vec<A> b) {
  typename VectorOf<A>::mask m{};
#pragma GCC unroll 16
  for (int l = 0; l < kLanes<A>; ++l) {
    const bool second = l & S;
    m[l] = High ? (second ? kLanes<A> + l : l + S) : (second ? kLanes<A> + l - S : l);
  }
  return __builtin_shuffle(a, b, m);
}

template <typename A, int S>
ISA_INLINE void transpose_step(Vec<A> (&r)[kLanes<A>]) {
  if constexpr (S < kLanes<A>) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<A>; ++i) {
      if (i & S) continue;
      const Vec<A> a = r[i], b = r[i + S];
      r[i] = exchange<A, S, false>(a, b);
      r[i + S] = exchange<A, S, true>(a, b);
    }
    transpose_step<A, 2 * S>(r);
  }
}

// Lane l of vector i and lane i of vector l change places.
template <typename A>
ISA_INLINE void transpose(Vec<A> (&r)[kLanes<A>]) {
  transpose_step<A, 1>(r);
}

// Lane i of the result is the sum of the lanes of vector i.
template <typename A, int S = 1>
ISA_INLINE Vec<A> sum_each(Vec<A> (&r)[kLanes<A>]) {
  if constexpr (S == kLanes<A>) {
    return r[0];
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<A>; i += 2 * S)
      r[i] = exchange<A, S, false>(r[i], r[i + S]) + exchange<A, S, true>(r[i], r[i + S]);
    return sum_each<A, 2 * S>(r);
  }
}
