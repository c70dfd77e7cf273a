#include <algorithm>
#include <type_traits>

#include "propagate.h"

namespace multipath_gcn {
namespace baseline {

#include "targets/baseline.inl"
#include "propagate_body.inl"

}  // namespace baseline
}  // namespace multipath_gcn
