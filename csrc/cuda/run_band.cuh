// Forward transform and input gradient: tiles, path, preparation and launch.
#pragma once
#include "band_fma.cuh"
#include "band_mma.cuh"
#include "run.cuh"
#include "weight_order.cuh"

namespace multipath_gcn::gpu {

// In rows a tile takes neighbouring filters, so that its stores are wide, and has them in its own order; planes are far
// apart anyway, and their filters are taken in the windows' order.
template <typename Launcher>
void order_tiles(Launcher& launcher, Windows& windows, int size) {
  if (windows.filters <= size) return;
  int* order = static_cast<int*>(launcher.allocate(int64_t{windows.filters} * 4));
  launcher.launch(tile_order_kernel, ceil_div(windows.filters, size), size * 4, windows, order, size);
  windows.order = order;
}

template <TileSize kSize, typename T, typename Launcher>
void launch_fma(Launcher& launcher, const BandArgs<T>& args) {
  const auto run = [&](auto kernel) {
    launcher.launch(kernel, blocks_for(args.tiles), FmaTile<sizeof(Accumulate<T>), kSize>::kSharedBytes, args);
  };
  if (args.rows) {
    args.grad ? run(band_fma_kernel<T, kSize, true, true>) : run(band_fma_kernel<T, kSize, true, false>);
  } else {
    args.grad ? run(band_fma_kernel<T, kSize, false, true>) : run(band_fma_kernel<T, kSize, false, false>);
  }
}

template <TileSize kSize, typename T, typename Launcher>
void launch_mma(Launcher& launcher, const MmaArgs<T>& args) {
  if (args.band.rows) {
    using Tile = MmaTile<sizeof(T), true, kSize>;
    launcher.launch(band_mma_kernel<T, true, kSize>, blocks_for(args.band.tiles), Tile::kSharedBytes, args);
  } else {
    using Tile = MmaTile<sizeof(T), false, kSize>;
    launcher.launch(band_mma_kernel<T, false, kSize>, blocks_for(args.band.tiles), Tile::kSharedBytes, args);
  }
}

template <typename T, typename Launcher>
void run_band(Launcher& launcher, BandArgs<T> args) {
  const int64_t points = args.in.batch * args.in.pixels, results = args.out.channels, terms = args.in.channels;
  const int64_t packed_bytes = packed_shape(results, terms, TileSize::large, sizeof(T)).bytes();
  const Path path = choose_path(sizeof(T), launcher.tf32, args.windows.width, packed_bytes);
  const bool large_fits = path == Path::mma || sizeof(T) == 4;
  const TileSize size = choose_tile(points, results, launcher.multiprocessors, large_fits);
  args.points = points;
  args.tiles = band_tiles(size, points, results);
  args.result_tiles = static_cast<int>(ceil_div(results, extent(size).results));
  args.terms_ordered = args.grad && !args.rows;
  if (!args.grad && args.rows) order_tiles(launcher, args.windows, extent(size).results);

  if constexpr (sizeof(T) != 8) {
    if (path == Path::mma) {
      const PackedShape shape = packed_shape(results, terms, size, sizeof(T));
      T* packed = static_cast<T*>(launcher.allocate(shape.bytes_with_flags()));
      auto* flags = reinterpret_cast<uint2*>(packed + shape.bytes() / sizeof(T));
      const int64_t blocks = shape.result_tiles * shape.chunks;
      launcher.launch(pack_kernel<T>, blocks_for(blocks), 8, args, packed, flags, shape.chunks, blocks, extent(size).results);
      const MmaArgs<T> mma{args, packed, flags, static_cast<int>(shape.chunks), copy_bytes(args.in, args.rows),
                           copy_bytes(args.out, args.rows)};
      switch (size) {
        case TileSize::large: return launch_mma<TileSize::large>(launcher, mma);
        case TileSize::medium: return launch_mma<TileSize::medium>(launcher, mma);
        case TileSize::small: return launch_mma<TileSize::small>(launcher, mma);
      }
    }
  }
  if constexpr (sizeof(T) == 4)
    if (size == TileSize::large) return launch_fma<TileSize::large>(launcher, args);
  if (size == TileSize::medium) return launch_fma<TileSize::medium>(launcher, args);
  launch_fma<TileSize::small>(launcher, args);
}

}  // namespace multipath_gcn::gpu
