// Launches of grouped convolutions: which kernel, how many blocks, and the memory in between.
#pragma once
#include <type_traits>

#include "activate.cuh"
#include "conv_mma.cuh"
#include "conv_weight_grad.cuh"
#include "conv_weight_grad_mma.cuh"
#include "grouped_conv2d.cuh"

namespace multipath_gcn::gpu {

// Whether every block of so many channels is a vector in memory, aligned.
template <typename T>
bool whole_vectors(const Strided<T>& images, int64_t channels, int vector) {
  const auto bytes = static_cast<uint64_t>(at_most(vector * sizeof(T), 16));
  return channels % vector == 0 && images.channel == 1 && reinterpret_cast<uint64_t>(images.data) % bytes == 0 &&
         images.batch % vector == 0 && images.row % vector == 0 && images.column % vector == 0;
}

template <int kFilters, int kVector, typename T>
void launch_conv(Launcher& launcher, ConvArgs<T>& args, bool channels_last) {
  const bool three = args.work.three_rows();
  args.whole = whole_vectors(args.y, args.work.filters, kFilters);
  args.tiles = conv_tiles(args.work, channels_last, kFilters, kVector, three, sizeof(Accumulate<T>), launcher.multiprocessors);
  const int64_t blocks = blocks_for(args.tiles.items(args.work));
  if (three) {
    launcher.launch(conv_kernel<kFilters, kVector, true, T>, blocks, args.tiles.shared_bytes, args);
  } else {
    launcher.launch(conv_kernel<kFilters, kVector, false, T>, blocks, args.tiles.shared_bytes, args);
  }
}

template <int kBlocks, typename T>
void launch_conv_mma(Launcher& launcher, ConvArgs<T>& args, bool channels_last) {
  args.whole = whole_vectors(args.y, args.work.filters, 2);
  args.tiles = conv_mma_tiles(args.work, channels_last, kBlocks, launcher.multiprocessors);
  const int64_t blocks = blocks_for(args.tiles.items(args.work));
  if (whole_vectors(args.x, args.work.channels, 2)) {
    launcher.launch(conv_mma_kernel<kBlocks, true, T>, blocks, args.tiles.shared_bytes, args);
  } else {
    launcher.launch(conv_mma_kernel<kBlocks, false, T>, blocks, args.tiles.shared_bytes, args);
  }
}

template <typename T>
void run_conv(Launcher& launcher, ConvArgs<T> args, bool channels_last) {
  if constexpr (sizeof(T) == 2) {
    if (conv_on_tensor_cores(args.work, sizeof(T))) {
      switch (conv_mma_blocks(args.work.filters)) {
        case 1: return launch_conv_mma<1>(launcher, args, channels_last);
        case 2: return launch_conv_mma<2>(launcher, args, channels_last);
        default: return launch_conv_mma<4>(launcher, args, channels_last);
      }
    }
  }
  const bool vectors = channels_last && whole_vectors(args.x, args.work.channels, 4);
  switch (conv_filter_block(args.work, launcher.multiprocessors)) {
    case 1: return launch_conv<1, 1>(launcher, args, channels_last);
    case 2: return launch_conv<2, 1>(launcher, args, channels_last);
    case 4: return vectors ? launch_conv<4, 4>(launcher, args, true) : launch_conv<4, 1>(launcher, args, channels_last);
    default: return vectors ? launch_conv<8, 4>(launcher, args, true) : launch_conv<8, 1>(launcher, args, channels_last);
  }
}

template <int kFilters, typename T>
void launch_conv_weight_grad(Launcher& launcher, const ConvGradArgs<T>& args) {
  const ConvGradTiles& tiles = args.tiles;
  const int64_t blocks = blocks_for(tiles.unit_tiles * tiles.slices);
  const auto launch = [&](auto side, auto rows) {
    launcher.launch(conv_weight_grad_kernel<kFilters, side, rows, T>, blocks, tiles.shared_bytes, args);
  };
  using One = std::integral_constant<int, 1>;
  using Three = std::integral_constant<int, 3>;
  using Four = std::integral_constant<int, 4>;
  if (tiles.side == 1) {
    launch(One{}, Four{});
  } else if (tiles.rows == 4) {
    launch(Three{}, Four{});
  } else {
    launch(Three{}, One{});
  }
}

template <typename T>
void run_conv_weight_grad(Launcher& launcher, ConvGradArgs<T> args, int64_t batch, bool channels_last, T* dweight) {
  using A = Accumulate<T>;
  const ConvShape& shape = args.shape;
  const int64_t weights = shape.groups * shape.filters * shape.channels * shape.kernel[0] * shape.kernel[1];
  const auto place = [&](const ConvGradTiles& tiles) {
    args.tiles = tiles;
    args.partial = static_cast<A*>(launcher.allocate(tiles.slices * weights * sizeof(A)));
  };
  bool done = false;
  if constexpr (sizeof(T) == 2) {
    if (conv_grad_on_tensor_cores(shape, sizeof(T))) {
      place(conv_grad_mma_tiles(shape, batch, channels_last, launcher.multiprocessors));
      launcher.launch(conv_weight_grad_mma_kernel<T>, blocks_for(args.tiles.unit_tiles * args.tiles.slices),
                      args.tiles.shared_bytes, args);
      done = true;
    }
  }
  if (!done) {
    place(conv_grad_tiles(shape, batch, channels_last, sizeof(A), launcher.multiprocessors));
    switch (args.tiles.filter_block) {
      case 1: launch_conv_weight_grad<1>(launcher, args); break;
      case 2: launch_conv_weight_grad<2>(launcher, args); break;
      default: launch_conv_weight_grad<4>(launcher, args);
    }
  }
  launcher.launch(add_slabs_kernel<T>, blocks_for(ceil_div(weights, kLanes)), kThreads * static_cast<int>(sizeof(A)),
                  static_cast<const A*>(args.partial), dweight, args.tiles.slices, weights);
}

}  // namespace multipath_gcn::gpu

// All of the above for one element type.
#define MULTIPATH_GCN_CONV_KERNELS(T)                                                        \
  template void multipath_gcn::gpu::run_conv(Launcher&, ConvArgs<T>, bool);                  \
  template void multipath_gcn::gpu::run_conv_weight_grad(Launcher&, ConvGradArgs<T>, int64_t, bool, T*);
