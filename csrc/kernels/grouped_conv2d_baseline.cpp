#include <algorithm>
#include <type_traits>

#include "uneven_conv2d.h"

namespace multipath_gcn {
namespace baseline {

#include "targets/baseline.inl"
#include "grouped_conv2d_body.inl"

}  // namespace baseline
}  // namespace multipath_gcn
