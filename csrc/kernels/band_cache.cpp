#include "band_cache.h"

#include <algorithm>
#include <list>
#include <mutex>

namespace multipath_gcn {
namespace {

struct Key {
  BandKind kind;
  int outputs_per_tile;
  int64_t in_channels, out_channels, width;
  bool operator==(const Key&) const = default;
};

struct Entry {
  Key key;
  std::vector<int32_t> start, order;
  std::shared_ptr<const Band> band;
  bool is(const Key& wanted, const Windows& w) const {
    return key == wanted && std::equal(start.begin(), start.end(), w.start) && std::equal(order.begin(), order.end(), w.order);
  }
};

constexpr size_t kMostEntries = 64;          // the layers of a deep network, forward and backward
constexpr int64_t kMostChannels = 1 << 14;   // of an entry: its memory is in proportion

struct Cache {
  std::mutex mutex;
  std::list<Entry> entries;  // the last used first

  std::shared_ptr<const Band> find(const Key& key, const Windows& windows) {
    const std::lock_guard<std::mutex> lock(mutex);
    for (auto entry = entries.begin(); entry != entries.end(); ++entry) {
      if (!entry->is(key, windows)) continue;
      entries.splice(entries.begin(), entries, entry);
      return entry->band;
    }
    return nullptr;
  }

  void keep(Entry entry) {
    const std::lock_guard<std::mutex> lock(mutex);
    entries.push_front(std::move(entry));
    if (entries.size() > kMostEntries) entries.pop_back();
  }
};

Cache& cache() {
  static Cache* const one = new Cache;  // outlives threads that still compute when the program ends
  return *one;
}

Band made(BandKind kind, const Windows& windows, int outputs_per_tile) {
  switch (kind) {
    case BandKind::forward: return forward_band(windows, outputs_per_tile);
    case BandKind::input_grad: return input_grad_band(windows, outputs_per_tile);
    case BandKind::forward_pairs: return in_pairs(*band_of(BandKind::forward, windows, outputs_per_tile), outputs_per_tile);
    case BandKind::input_grad_pairs: break;
  }
  return in_pairs(*band_of(BandKind::input_grad, windows, outputs_per_tile), outputs_per_tile);
}

}  // namespace

std::shared_ptr<const Band> band_of(BandKind kind, const Windows& windows, int outputs_per_tile) {
  const Key key{kind, outputs_per_tile, windows.in_channels, windows.out_channels, windows.width};
  const bool small = windows.in_channels + windows.out_channels <= kMostChannels;
  if (small)
    if (auto band = cache().find(key, windows)) return band;
  const auto band = std::make_shared<const Band>(made(kind, windows, outputs_per_tile));
  const int32_t *start = windows.start, *order = windows.order;
  const int64_t n = windows.out_channels;
  if (small) cache().keep({key, {start, start + n}, {order, order + n}, band});
  return band;
}

}  // namespace multipath_gcn
