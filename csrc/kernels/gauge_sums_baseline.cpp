#include <algorithm>
#include <type_traits>

#include "gauge_sums.h"

namespace multipath_gcn {
namespace baseline {

#include "targets/baseline.inl"
#include "gauge_sums_body.inl"

}  // namespace baseline
}  // namespace multipath_gcn
