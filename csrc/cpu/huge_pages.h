// Results of many megabytes on huge pages, where the system gives them to those who ask (Linux, "madvise"): the pages of
// such a tensor are touched for the first time when it is written, one fault each, and are found again in the TLB when its
// rows are gathered.
#pragma once
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "../check.h"

namespace multipath_gcn {

inline Tensor on_huge_pages(Tensor t) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr uintptr_t kPage = uintptr_t{1} << 21;
  const uintptr_t begin = reinterpret_cast<uintptr_t>(t.const_data_ptr());
  const uintptr_t first = (begin + kPage - 1) / kPage * kPage;
  const uintptr_t last = (begin + static_cast<uintptr_t>(t.numel()) * t.element_size()) / kPage * kPage;
  if (last > first + 2 * kPage) (void)madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // a hint only
#endif
  return t;
}

}  // namespace multipath_gcn
