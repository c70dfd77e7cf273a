// Bands of the windows used last. Working one out takes as long as a small transform, and layers ask for the same few again
// and again. They are found by the windows' contents, never by addresses: an answer cannot be stale.
#pragma once
#include <memory>

#include "band.h"

namespace multipath_gcn {

enum class BandKind { forward, forward_pairs, input_grad, input_grad_pairs };

// Thread-safe. Throws as the functions of band.h do.
std::shared_ptr<const Band> band_of(BandKind kind, const Windows& windows, int outputs_per_tile);

}  // namespace multipath_gcn
