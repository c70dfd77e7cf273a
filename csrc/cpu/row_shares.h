// The rows of a sparse matrix shared out among threads by the number of their entries. Which thread does a row never
// changes its result, so that sizes may follow the number of threads.
#pragma once
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "../kernels/propagate.h"

namespace multipath_gcn {

constexpr int64_t kSharesPerThread = 16;
constexpr int64_t kLeastWork = 1 << 15;  // values read, worth waking a thread for

// The rows in runs of about equal numbers of entries; a row that has many more is cut into runs of columns.
template <typename I>
std::vector<Range> row_shares(const I* rowptr, int64_t rows, int64_t entries, int64_t features) {
  const int64_t threads = torch::stable::get_num_threads();
  const int64_t least = kLeastWork / std::max<int64_t>(1, features);
  const int64_t each = std::max(least, (entries + rows) / (threads * kSharesPerThread)) + 1;
  std::vector<Range> hubs, shares;
  for (int64_t row = 0; row < rows;) {
    if (threads > 1 && features > kColumns && rowptr[row + 1] - rowptr[row] > each) {
      for (int64_t c = 0; c < features; c += kColumns) hubs.push_back({row, row + 1, c, std::min(features, c + kColumns)});
      ++row;
      continue;
    }
    const int64_t begin = row, full = rowptr[row] + row + each;
    while (row < rows && (row == begin || rowptr[row + 1] + row + 1 <= full)) ++row;
    shares.push_back({begin, row, 0, features});
  }
  hubs.insert(hubs.end(), shares.begin(), shares.end());
  return hubs;
}

// body(share) for all of them, the next one to whichever thread is free. False if any body is.
template <typename Body>
bool for_each_share(const std::vector<Range>& shares, Body&& body) {
  std::atomic<size_t> next{0};
  std::atomic<bool> right{true};
  const auto work = [&](int64_t, int64_t) {
    for (size_t i; (i = next.fetch_add(1)) < shares.size();)
      if (!body(shares[i])) right = false;
  };
  const int64_t threads = std::min<int64_t>(torch::stable::get_num_threads(), shares.size());
  torch::stable::parallel_for(0, threads, 1, work);
  return right;
}

}  // namespace multipath_gcn
