#define ISA_TARGET __attribute__((target("avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")))
#define HAS_PAIR_DOT 1
#define VECTOR_BYTES 64
