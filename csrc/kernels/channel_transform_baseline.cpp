#include "channel_transform.h"

namespace multipath_gcn {
namespace baseline {

#include "targets/baseline.inl"
#if defined(__aarch64__)  // 32 registers
#define TILE_OUTPUTS 8
#define TILE_VECTORS 3
#else
#define TILE_OUTPUTS 4
#define TILE_VECTORS 2
#endif
#include "isa_body.inl"

}  // namespace baseline
}  // namespace multipath_gcn
