#include "channel_transform.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx2 {

#include "targets/avx2.inl"
#define TILE_OUTPUTS 4
#define TILE_VECTORS 2
#include "isa_body.inl"

}  // namespace avx2
}  // namespace multipath_gcn
#endif
