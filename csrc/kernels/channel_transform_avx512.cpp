#include "channel_transform.h"

#if defined(__x86_64__)

namespace multipath_gcn {
namespace avx512 {

#define ISA_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,prefer-vector-width=512")))
#define HAS_PAIR_DOT 0
#define VECTOR_BYTES 64
#define TILE_OUTPUTS 8
#define TILE_VECTORS 3
#include "isa_body.inl"

}  // namespace avx512
}  // namespace multipath_gcn
#endif
