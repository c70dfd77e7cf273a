// Between the lanes of a comparison (all bits or none) and one bit a lane, the lowest for the first.

ISA_INLINE uint64_t bits_of(VectorOf<float>::mask m) {
#if VECTOR_BYTES == 64
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(m));
#elif VECTOR_BYTES == 32
  return static_cast<uint32_t>(_mm256_movemask_ps(reinterpret_cast<__m256>(m)));
#else
  uint64_t bits = 0;
  for (int l = 0; l < VECTOR_BYTES / 4; ++l) bits |= static_cast<uint64_t>(m[l] & 1) << l;
  return bits;
#endif
}
ISA_INLINE uint64_t bits_of(VectorOf<double>::mask m) {
#if VECTOR_BYTES == 64
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(m));
#elif VECTOR_BYTES == 32
  return static_cast<uint32_t>(_mm256_movemask_pd(reinterpret_cast<__m256d>(m)));
#else
  uint64_t bits = 0;
  for (int l = 0; l < VECTOR_BYTES / 8; ++l) bits |= static_cast<uint64_t>(m[l] & 1) << l;
  return bits;
#endif
}

template <typename A>
using Mask = typename VectorOf<A>::mask;

template <typename A>
ISA_INLINE Mask<A> lanes_of(uint64_t bits) {
  using Lane = std::conditional_t<sizeof(A) == 4, int32_t, int64_t>;
  Mask<A> one;
  for (int l = 0; l < kLanes<A>; ++l) one[l] = Lane{1} << l;
  return ((Mask<A>{} + static_cast<Lane>(bits & ((uint64_t{1} << kLanes<A>)-1))) & one) != 0;
}

template <typename A>
ISA_INLINE Vec<A> keep(Vec<A> v, Mask<A> m) {  // else 0
  return reinterpret_cast<Vec<A>>(reinterpret_cast<Mask<A>>(v) & m);
}
