#include "channel_transform.h"

#if defined(__x86_64__)
#include <immintrin.h>


namespace multipath_gcn {
namespace avx512_bf16 {

#define ISA_TARGET __attribute__((target("avx512bf16,avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")))
#define HAS_PAIR_DOT 1
#define VECTOR_BYTES 64
#define TILE_OUTPUTS 8
#define TILE_VECTORS 3
#include "isa_body.inl"

}  // namespace avx512_bf16
}  // namespace multipath_gcn
#endif
