// The CUDA kernels for one element type (-DELEMENT), run by the emulation and compared with the definition
//
//   y[p, f] = act(bias[f] + sum_{k<K} weight[f, k] x[p, (start[f] + k) mod C])
//
// in float64, with both gradients. Prints the number of comparisons; every failure is one line, and the exit code is 1.
#include "problem.h"

namespace {

void check_forward(const Problem& problem) {
  const Case& c = problem.c;
  const Data y(c, c.filters);
  BandArgs<Element> args = problem.band(problem.x, y, false);
  args.bias = c.relu ? problem.biases.as<Element>() : nullptr;
  args.relu = c.relu;
  auto launcher = problem.launcher();
  run_band(launcher, args);
  for (int64_t p = 0; p < c.points(); ++p) {
    for (int f = 0; f < c.filters; ++f) {
      Sum sum;
      for (int k = 0; k < c.width; ++k) sum.add(problem.weight(f, k) * exact(problem.x.at(p, problem.channel(f, k))));
      if (args.bias) sum.add(exact(args.bias[f]));
      if (args.relu && sum.value < 0) sum.value = 0;
      compare(c, "y", exact(y.at(p, f)), sum, c.width, p, f);
    }
  }
}

void check_input_grad(const Problem& problem) {
  const Case& c = problem.c;
  const Data dx(c, c.channels);
  auto launcher = problem.launcher();
  run_band(launcher, problem.band(problem.grad, dx, true));
  std::vector<Sum> sums(c.channels);
  for (int64_t p = 0; p < c.points(); ++p) {
    std::fill(sums.begin(), sums.end(), Sum{});
    for (int f = 0; f < c.filters; ++f)
      for (int k = 0; k < c.width; ++k) sums[problem.channel(f, k)].add(problem.weight(f, k) * exact(problem.grad.at(p, f)));
    for (int channel = 0; channel < c.channels; ++channel)
      compare(c, "dx", exact(dx.at(p, channel)), sums[channel], c.filters, p, channel);
  }
}

void check_weight_grad(const Problem& problem) {
  const Case& c = problem.c;
  const emulation::Guarded result(int64_t{c.filters} * c.width * sizeof(Element));
  WeightGradArgs<Element> args{};
  args.grad = problem.grad.read();
  args.x = problem.x.read();
  args.windows = problem.windows();
  args.rows = c.layout == Layout::rows;
  auto launcher = problem.launcher();
  run_weight_grad(launcher, args, result.as<Element>());
  for (int f = 0; f < c.filters; ++f) {
    for (int k = 0; k < c.width; ++k) {
      Sum sum;
      for (int64_t p = 0; p < c.points(); ++p)
        sum.add(exact(problem.grad.at(p, f)) * exact(problem.x.at(p, problem.channel(f, k))));
      compare(c, "dweight", exact(result.as<Element>()[f * c.width + k]), sum, c.points(), f, k);
    }
  }
}

void check(const Case& c) {
  const Problem problem(c);
  for (int choice = 0; choice < 2; ++choice) {  // both values of both choices
    emulation::late_copies = choice == 0;
    emulation::reverse_order = choice == 1;
    check_forward(problem);
    check_input_grad(problem);
    if (c.not_finite == 0 || c.points() < 40) check_weight_grad(problem);
  }
}

// Whatever `order` holds, nothing outside the tensors is touched; the guards would end the program.
void check_wild_order() {
  for (const Layout layout : {Layout::rows, Layout::planes}) {
    const Case c{2, 33, 37, 150, 9, Starts::sliding, layout};
    const Problem problem(c);
    for (int f = 0; f < c.filters; ++f) problem.orders.as<int>()[f] = static_cast<int>(generator());
    const Data y(c, c.filters), dx(c, c.channels);
    const emulation::Guarded dweight(int64_t{c.filters} * c.width * sizeof(Element));
    auto launcher = problem.launcher();
    run_band(launcher, problem.band(problem.x, y, false));
    run_band(launcher, problem.band(problem.grad, dx, true));
    WeightGradArgs<Element> args{};
    args.grad = problem.grad.read();
    args.x = problem.x.read();
    args.windows = problem.windows();
    args.rows = layout == Layout::rows;
    run_weight_grad(launcher, args, dweight.as<Element>());
  }
}

// More than 2^31 elements: memory that is never touched costs nothing, so the last blocks alone run, over the last points.
void check_large(Layout layout) {
  const Case c{41, 1000003, 67, 65, 33, Starts::sliding, layout};
  const Case small{1, 1, c.channels, c.filters, c.width, c.starts, layout};
  const Problem problem(small);
  const int64_t points = c.points(), busy = points - 40;
  if (points * c.filters <= int64_t{1} << 31) emulation::fail("the large case is small");
  const emulation::Guarded x_memory(points * c.channels * sizeof(Element), false);
  const emulation::Guarded y_memory(points * c.filters * sizeof(Element), false);
  const View<Element> x = view_at(c, x_memory.as<Element>(), c.channels), y = view_at(c, y_memory.as<Element>(), c.filters);
  for (int64_t p = busy; p < points; ++p)
    for (int channel = 0; channel < c.channels; ++channel) element(x, p, channel) = problem.draw_one();

  BandArgs<Element> args = problem.band(problem.x, problem.grad, false);
  args.in = reading(x);
  args.out = y;
  auto launcher = problem.launcher();
  launcher.last_blocks = 3;
  run_band(launcher, args);
  for (int64_t p = busy; p < points; ++p) {
    for (int f = 0; f < c.filters; ++f) {
      Sum sum;
      for (int k = 0; k < c.width; ++k) sum.add(problem.weight(f, k) * exact(element(x, p, problem.channel(f, k))));
      compare(c, "large y", exact(element(y, p, f)), sum, c.width, p, f);
    }
  }

  // The last part of the points, whose sums are the last of the partial gradients.
  WeightGradArgs<Element> grad_args{};
  grad_args.grad = reading(y);
  grad_args.x = reading(x);
  grad_args.windows = problem.windows();
  grad_args.rows = layout == Layout::rows;
  auto grad_launcher = problem.launcher();
  grad_launcher.multiprocessors = 100000;  // as many parts as memory allows
  grad_launcher.last_blocks = 8;
  const emulation::Guarded dweight(int64_t{c.filters} * c.width * sizeof(Element));
  run_weight_grad(grad_launcher, grad_args, dweight.as<Element>());
  const int64_t weights = int64_t{c.filters} * c.width;
  const int64_t splits = grad_launcher.sizes[0] / (weights * static_cast<int64_t>(sizeof(Accumulate<Element>)));
  const auto* partial = grad_launcher.owned[0].as<Accumulate<Element>>() + (splits - 1) * weights;
  for (int f = 0; f < c.filters; ++f) {
    for (int k = 0; k < c.width; ++k) {
      Sum sum;
      for (int64_t p = busy; p < points; ++p) sum.add(exact(element(y, p, f)) * exact(element(x, p, problem.channel(f, k))));
      compare(c, "large dweight", partial[f * c.width + k], sum, points - busy, f, k);
    }
  }
}

// Sizes off every tile edge; the sections below add one difference each.
void check_all(bool tf32) {
  for (const Layout layout : {Layout::rows, Layout::planes}) {
    const auto with = [&](Case c) {
      c.layout = layout;
      c.tf32 = tf32;
      check(c);
    };
    with({1, 1, 1, 1, 1, Starts::sliding});
    with({1, 1, 37, 53, 37, Starts::anywhere});                  // one point; windows as wide as the input
    with({3, 5, 7, 11, 1, Starts::sliding});                     // U = 1
    with({2, 37, 67, 71, 17, Starts::sliding});                  // C and O prime; windows that wrap
    with({1, 130, 131, 137, 44, Starts::anywhere});              // several large tiles
    with({1, 33, 64, 23, 32, Starts::sliding, {}, false, 100});  // the cycle is longer than O
    with({4, 16, 48, 96, 12, Starts::grouped});                  // aligned: wide copies
    with({4, 16, 128, 160, 64, Starts::sliding, {}, false, 3});  // aligned, several tiles and chunks
    with({9, 4, 40, 80, 20, Starts::sliding, {}, false, 100});   // images of four pixels, small tiles
    Case walking{3, 50, 66, 130, 22, Starts::sliding, {}, false, 100, 1};
    with(walking);                                               // one block walks over all tiles
    Case odd{2, 24, 32, 80, 9, Starts::anywhere};
    odd.shift = 1, odd.channel_padding = 3, odd.transposed_weight = true, odd.relu = true;
    with(odd);                                                   // slices of larger tensors, bias and ReLU
    Case pairs{2, 24, 32, 80, 16, Starts::grouped};
    pairs.shift = 2, pairs.channel_padding = 2, pairs.relu = true;
    with(pairs);                                                 // copies of four bytes
    Case bad{2, 18, 50, 76, 12, Starts::anywhere};
    bad.not_finite = 0.01;
    with(bad);                                                   // a NaN stays inside its windows
    bad = {1, 140, 144, 144, 24, Starts::grouped};
    bad.not_finite = 0.002, bad.grid_limit = 1;
    with(bad);
    with({2, 700, 19, 10, 8, Starts::sliding, {}, false, 50});   // points in several parts
  }
  check({1, 3, 70001, 5, 9, Starts::anywhere, Layout::rows, tf32});  // more chunks than are told apart
}

}  // namespace

int main(int, char** arguments) {
  const std::string section = arguments[1];
  if (section == "kernels") check_all(false);
  if (section == "tf32") check_all(true);
  if (section == "wild_order") check_wild_order();
  if (section == "large") {
    check_large(Layout::rows);
    check_large(Layout::planes);
  }
  std::printf("%d comparisons, %d failures\n", comparisons, failures);
  return failures != 0 || (comparisons == 0 && section != "wild_order");
}
