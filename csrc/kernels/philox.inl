// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3, SC 2011): 128 random bits that are
// a function of a counter and of a key. Element (i, f) of a tensor takes word (f / 16) % 4 of the block with the counter
// (16 (f / 64) + f % 16, i mod 2^32, i / 2^32, 0), so that neighbouring lanes are neighbouring columns.

// Of each lane the product's 32 low bits (a) and 32 high bits.
ISA_INLINE Word multiply_high(Word& a, uint32_t b) {
  typedef uint64_t Wide __attribute__((vector_size(VECTOR_BYTES)));
  const Wide even = reinterpret_cast<Wide>(a), odd = even >> 32;
#if VECTOR_BYTES == 64
  const Wide p = reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(even), _mm512_set1_epi32(b)));
  const Wide q = reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xff, reinterpret_cast<__m512i>(odd), _mm512_set1_epi32(b)));
#elif VECTOR_BYTES == 32
  const Wide p = reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(even), _mm256_set1_epi32(b)));
  const Wide q = reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(odd), _mm256_set1_epi32(b)));
#else
  const Wide p = (even & 0xffffffff) * b, q = odd * b;
#endif
  a = reinterpret_cast<Word>((p & 0xffffffff) | (q << 32));
  return reinterpret_cast<Word>((p >> 32) | (q & ~uint64_t{0xffffffff}));
}

// Bit f of the result: whether column begin + f of the row keeps its value; begin is a multiple of 64.
ISA_INLINE uint64_t draw(uint64_t seed, int64_t row, int64_t begin, uint32_t threshold) {
  constexpr int kWords = VECTOR_BYTES / 4;
  uint64_t bits = 0;
  for (int part = 0; part < 16; part += kWords) {
    Word c0, c1 = Word{} + static_cast<uint32_t>(row), c2 = Word{} + static_cast<uint32_t>(row >> 32), c3{};
    for (int l = 0; l < kWords; ++l) c0[l] = static_cast<uint32_t>(begin / 64 * 16 + part + l);
    uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      const Word high0 = multiply_high(c0, 0xD2511F53), high1 = multiply_high(c2, 0xCD9E8D57);
      const Word low0 = c0, low1 = c2;
      c0 = high1 ^ c1 ^ k0, c1 = low1, c2 = high0 ^ c3 ^ k1, c3 = low0;
      k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
    const Word words[4] = {c0, c1, c2, c3};
#pragma GCC unroll 4
    for (int w = 0; w < 4; ++w) bits |= bits_of(words[w] >= threshold) << (16 * w + part);
  }
  return bits;
}
