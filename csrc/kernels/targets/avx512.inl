#define ISA_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")))
#define HAS_PAIR_DOT 0
#define VECTOR_BYTES 64
