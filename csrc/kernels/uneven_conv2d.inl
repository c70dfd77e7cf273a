// Tasks are bands of an image, and shares of the filters of each. A band lies on one tape, with all of its channels.

template <typename T>
ISA_TARGET void conv_uneven(const UnevenJob<T>& job, int64_t task_begin, int64_t task_end, Accumulator<T>* memory) {
  using A = Accumulator<T>;
  constexpr int L = kLanes<A>;
  const ConvPass& pass = *job.conv.pass;
  const Tape& tape = *job.conv.tape;
  const int64_t bands = job.conv.bands, taps = static_cast<int64_t>(tape.on_tape.size()), line_size = uneven_line(tape, L);
  A* const source = memory;
  A* const line = source + tape.size;
  int64_t filled = -1;
  for (int64_t task = task_begin; task < task_end; ++task) {
    const int64_t at = task / job.shares, share = task % job.shares, n = at / bands, first_row = at % bands * job.conv.rows;
    const int64_t rows = std::min(job.conv.rows, pass.size[0] - first_row);
    if (rows <= 0 || job.share[share] == job.share[share + 1]) continue;
    const int64_t vectors = ((rows - 1) * tape.pitch + pass.size[1] + L - 1) / L;
    if (at != filled) fill_tape(pass, tape, job.conv.x, n, 0, first_row, rows, source);
    filled = at;
    for (int64_t b = job.share[share]; b < job.share[share + 1]; ++b) {
      const UnevenFilters<A>& block = job.blocks[b];
      const int64_t stride = block.channels * taps;
      lines_of<A>(block.filters, {source, tape.on_tape.data(), block.weight, tape.of_weight.data(), stride, taps, block.channels,
                                  tape.plane, taps, block.inputs},
                  vectors, line, line_size);
      for (int64_t k = 0; k < block.filters; ++k)
        store_line(job.conv, n, block.outputs[k], first_row, rows, line + k * line_size);
    }
  }
}
