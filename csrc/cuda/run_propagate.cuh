// Launches over rows of features: which word, how many tiles, and the memory in between.
#pragma once
#include <type_traits>

#include "propagate.cuh"
#include "rows.cuh"

namespace multipath_gcn::gpu {

// Calls body with the elements of a word as a constant.
template <typename T, typename Body>
void dispatch_word(int64_t features, Body&& body) {
  constexpr int kWide = 16 / sizeof(T);
  if (word_elements(features, sizeof(T)) == kWide) {
    body(std::integral_constant<int, kWide>{});
  } else {
    body(std::integral_constant<int, 1>{});
  }
}

template <Reduce kReduce, typename T, typename Index>
void run_propagate(Launcher& launcher, PropagateArgs<T, Index> args, int64_t features,
                   const Activation<T>& activation) {
  constexpr bool kExtreme = kReduce == Reduce::extreme;
  constexpr int kValueBytes = sizeof(Accumulate<T>) + (kExtreme ? sizeof(int) : 0);
  dispatch_word<T>(features, [&](auto word) {
    args.tiles = row_tiles(features, word);
    args.segments = segments(args.matrix.entries, features, kValueBytes);
    const int64_t parts = 2 * args.segments.count * features;
    if (parts > 0) args.partial = static_cast<Accumulate<T>*>(launcher.allocate(parts * sizeof(Accumulate<T>)));
    if (kExtreme && parts > 0) args.partial_source = static_cast<int*>(launcher.allocate(parts * sizeof(int)));
    const int shared = activation.kept ? kWarps * flag_bytes(args.tiles) : 0;
    const auto blocks = [&](int64_t tiles) { return walking_blocks(tiles, launcher.multiprocessors); };
    const int64_t tiles = args.tiles.tiles(2 * args.segments.count) + args.tiles.tiles(args.matrix.rows);
    launcher.launch(propagate_kernel<kReduce, word, T, Index>, blocks(tiles), shared, args, activation);
    if (parts == 0) return;
    launcher.launch(propagate_long_rows_kernel<kReduce, word, T, Index>, blocks(args.tiles.tiles(args.segments.count)),
                    shared, args, activation);
  });
}

template <typename T, typename Index>
void run_entry_grad(Launcher& launcher, EntryGradArgs<T, Index> args) {
  dispatch_word<T>(args.features, [&](auto word) {
    args.lanes = entry_lanes(args.features, word);
    const int64_t tiles = ceil_div(args.matrix.entries, kThreads);
    launcher.launch(entry_grad_kernel<word, T, Index>, blocks_for(tiles), kThreads * 8, args);
  });
}

template <typename T>
void run_activate(Launcher& launcher, ActivateArgs<T> args, int64_t features, const Activation<T>& activation) {
  dispatch_word<T>(features, [&](auto word) {
    args.tiles = row_tiles(features, word);
    const int shared = activation.kept ? kWarps * flag_bytes(args.tiles) : 0;
    const int64_t blocks = walking_blocks(args.tiles.tiles(args.rows), launcher.multiprocessors);
    launcher.launch(activate_kernel<T, word>, blocks, shared, args, activation);
  });
}

template <typename T>
void run_activate_grad(Launcher& launcher, ActivateGradArgs<T> args, int64_t features, T* dbias) {
  using S = Accumulate<T>;
  dispatch_word<T>(features, [&](auto word) {
    args.tiles = row_tiles(features, word);
    args.slabs = slabs(args.rows, args.tiles);
    args.partial = static_cast<S*>(launcher.allocate(args.slabs.count * features * sizeof(S)));
    const auto shared = static_cast<int>(kWarps * args.tiles.items * args.tiles.chunk * sizeof(S));
    launcher.launch(activate_grad_kernel<T, word>, blocks_for(args.slabs.count * args.tiles.chunks), shared, args);
    launcher.launch(add_slabs_kernel<T>, blocks_for(ceil_div(features, kLanes)), kThreads * static_cast<int>(sizeof(S)),
                    static_cast<const S*>(args.partial), dbias, args.slabs.count, features);
  });
}

}  // namespace multipath_gcn::gpu

// All of the above for one element type.
#define MULTIPATH_GCN_MATRIX_KERNELS(T, Index)                                                                       \
  template void run_propagate<Reduce::sum>(Launcher&, PropagateArgs<T, Index>, int64_t, const Activation<T>&);     \
  template void run_propagate<Reduce::chosen>(Launcher&, PropagateArgs<T, Index>, int64_t, const Activation<T>&);  \
  template void run_propagate<Reduce::extreme>(Launcher&, PropagateArgs<T, Index>, int64_t, const Activation<T>&); \
  template void run_entry_grad(Launcher&, EntryGradArgs<T, Index>);
#define MULTIPATH_GCN_ROW_KERNELS(T)                                                             \
  namespace multipath_gcn::gpu {                                                                 \
  MULTIPATH_GCN_MATRIX_KERNELS(T, int)                                                           \
  MULTIPATH_GCN_MATRIX_KERNELS(T, int64_t)                                                       \
  template void run_activate(Launcher&, ActivateArgs<T>, int64_t, const Activation<T>&);         \
  template void run_activate_grad(Launcher&, ActivateGradArgs<T>, int64_t, T*);                  \
  }
