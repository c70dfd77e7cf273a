#include "channel_transform.h"

#if defined(__x86_64__)

namespace multipath_gcn {
namespace avx2 {

#define ISA_TARGET __attribute__((target("avx2,fma")))
#define HAS_PAIR_DOT 0
#define VECTOR_BYTES 32
#define TILE_OUTPUTS 4
#define TILE_VECTORS 2
#include "isa_body.inl"

}  // namespace avx2
}  // namespace multipath_gcn
#endif
