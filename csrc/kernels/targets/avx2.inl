#define ISA_TARGET __attribute__((target("avx2,fma")))
#define HAS_PAIR_DOT 0
#define VECTOR_BYTES 32
