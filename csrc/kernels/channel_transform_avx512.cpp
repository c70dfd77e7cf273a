#include "channel_transform.h"

#if defined(__x86_64__)
#include <immintrin.h>

namespace multipath_gcn {
namespace avx512 {

#include "targets/avx512.inl"
#define TILE_OUTPUTS 8
#define TILE_VECTORS 3
#include "isa_body.inl"

}  // namespace avx512
}  // namespace multipath_gcn
#endif
