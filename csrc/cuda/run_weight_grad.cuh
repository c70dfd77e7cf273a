// Weight gradient: path, split of the points, and launch.
#pragma once
#include "run.cuh"
#include "run_band.cuh"
#include "weight_grad_fma.cuh"
#include "weight_grad_mma.cuh"

namespace multipath_gcn::gpu {

template <typename T, typename Launcher>
void place_weight_grad(Launcher& launcher, WeightGradArgs<T>& args, const GradShape& shape, int chunk) {
  const int64_t weights = int64_t{args.windows.filters} * args.windows.width;
  args.partial = static_cast<Accumulate<T>*>(launcher.allocate(shape.splits * weights * sizeof(Accumulate<T>)));
  args.points_per_split = shape.points_per_split;
  args.step_images = chunk / args.x.pixels;
  args.step_pixels = chunk % args.x.pixels;
  args.tiles = shape.tiles();
  args.filter_tiles = static_cast<int>(shape.filter_tiles);
  args.channel_tiles = static_cast<int>(shape.channel_tiles);
}

template <int kSide, typename T, typename Launcher>
void launch_mma(Launcher& launcher, const WeightGradArgs<T>& args) {
  if (args.rows) {
    using Tile = MmaGradTile<sizeof(T), true, kSide>;
    launcher.launch(weight_grad_mma_kernel<T, true, kSide>, blocks_for(args.tiles), Tile::kSharedBytes, args);
  } else {
    using Tile = MmaGradTile<sizeof(T), false, kSide>;
    launcher.launch(weight_grad_mma_kernel<T, false, kSide>, blocks_for(args.tiles), Tile::kSharedBytes, args);
  }
}

template <typename T, typename Launcher>
void run_weight_grad(Launcher& launcher, WeightGradArgs<T> args, T* dweight) {
  const int64_t points = args.x.batch * args.x.pixels, filters = args.windows.filters, channels = args.windows.channels;
  const auto shape_of = [&](int side, int chunk) {
    return grad_shape(points, filters, channels, args.windows.width, side, chunk, sizeof(Accumulate<T>),
                      launcher.multiprocessors);
  };
  bool done = false;
  GradShape shape{};
  if constexpr (sizeof(T) != 8) {
    if (choose_path(sizeof(T), launcher.tf32, args.windows.width, 0) == Path::mma) {
      const int side = filters > 64 && channels > 64 ? 128 : 64;
      constexpr int kChunk = MmaGradTile<sizeof(T), true, 64>::kChunk;
      shape = shape_of(side, kChunk);
      place_weight_grad(launcher, args, shape, kChunk);
      args.grad_bytes = copy_bytes(args.grad, args.rows);
      args.x_bytes = copy_bytes(args.x, args.rows);
      side == 128 ? launch_mma<128>(launcher, args) : launch_mma<64>(launcher, args);
      done = true;
    }
  }
  if (!done) {
    using Tile = FmaGradTile<sizeof(Accumulate<T>)>;
    shape = shape_of(Tile::kFilters, Tile::kChunk);
    place_weight_grad(launcher, args, shape, Tile::kChunk);
    if (args.rows) order_tiles(launcher, args.windows, Tile::kFilters);
    launcher.launch(weight_grad_fma_kernel<T>, blocks_for(args.tiles), Tile::kSharedBytes, args);
  }
  const int64_t weights = filters * args.windows.width;
  launcher.launch(sum_partials_kernel<T>, blocks_for(ceil_div(weights, kThreads)), 0, args.partial, dweight, shape.splits,
                  weights);
}

}  // namespace multipath_gcn::gpu
