// The kernels on NumPy arrays. multipath_gcn/kernels/ checks what arrays mean and brings memory for the results;
// here is checked what keeps the kernels within it. Points are arrays [batch, channels, pixels], bfloat16 is its bits.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdlib>
#include <memory>

#include "kernels/channel_plan.h"
#include "kernels/isa.h"
#include "numpy/arrays.h"
#include "numpy/grouped_conv2d.h"
#include "numpy/threads.h"

namespace multipath_gcn {
namespace {

using Indices = py::array_t<int32_t, py::array::c_style>;
using Bytes = py::array_t<uint8_t, py::array::c_style>;

// Whether kernels can work on the array in place, and how.
template <typename T>
bool view_of(const Array<std::remove_const_t<T>>& a, View<T>& view) {
  require(a.ndim() == 3, "points must be an array [batch, channels, pixels]");
  view.data = reinterpret_cast<T*>(const_cast<void*>(static_cast<const void*>(a.data())));
  view.batch = a.shape(0), view.channels = a.shape(1), view.pixels = a.shape(2);
  view.batch_stride = view.batch == 1 ? 0 : a.strides(0) / a.itemsize();
  view.channel_stride = view.channels == 1 ? 1 : a.strides(1) / a.itemsize();
  view.pixel_stride = a.strides(2) / a.itemsize();
  if (view.pixels == 1) view.pixel_stride = view.channel_stride == 1 ? view.channels : 1;
  const bool rows = view.channel_stride == 1 && view.pixel_stride >= view.channels;
  const bool planes = view.pixel_stride == 1 && view.channel_stride >= view.pixels;
  return whole_elements<std::remove_const_t<T>>(a) && view.batch_stride >= 0 && (rows || planes);
}

// The array itself or a contiguous copy, and the kernels' view of it.
template <typename T>
Array<T> viewed(const Array<T>& a, View<const T>& view) {
  if (view_of(a, view)) return a;
  const bool rows = std::abs(a.strides(1)) < std::abs(a.strides(2));
  const Array<T> copy = rows ? a.attr("swapaxes")(1, 2).attr("copy")().attr("swapaxes")(1, 2) : a.attr("copy")();
  view_of(copy, view);
  return copy;
}

template <typename T>
View<T> view_of_result(Array<T>& a) {
  View<T> view;
  require(a.writeable() && view_of(a, view), "a result must be writeable rows or planes");
  return view;
}

Windows windows_of(const Indices& start, const Indices& order, int64_t in_channels, int64_t width) {
  require(start.ndim() == 1 && start.size() >= 1 && order.ndim() == 1 && order.size() == start.size(),
          "start and order must have one entry per filter");
  require(1 <= width && width <= in_channels, "windows must be as wide as 1 ... in_channels");
  require(in_channels < (int64_t{1} << 31) && start.size() < (int64_t{1} << 31), "channels must be fewer than 2^31");
  return {start.data(), order.data(), in_channels, start.size(), width};
}

template <typename T>
Array<T> checked_weight(const Array<T>& weight, int64_t filters) {
  require(weight.ndim() == 2 && weight.shape(0) == filters, "weight must have one row per filter");
  return whole_elements<T>(weight) ? weight : Array<T>(weight.attr("copy")());
}

template <typename T>
Weight<T> as_it_lies(const Array<T>& weight) {
  const int64_t size = sizeof(T);
  return {reinterpret_cast<const T*>(weight.data()), weight.strides(0) / size, weight.strides(1) / size};
}

// packed: by an earlier call, or null.
template <typename T>
void run(const TransformPlan<T>& plan, const Weight<T>& weight, const void* packed, const std::vector<Accumulator<T>>& bias, bool relu,
         const View<const T>& in, const View<T>& out, const Threads& threads) {
  require(in.batch == out.batch && in.pixels == out.pixels, "a result must have the points of the input");
  TransformJob<T> job = plan.job(weight, bias.empty() ? nullptr : bias.data(), relu, in, out, threads.count());
  std::unique_ptr<char[]> memory;
  if (!packed && plan.packs_once(job)) {
    memory.reset(new char[plan.bytes()]);
    plan.pack(weight, memory.get(), threads);
    packed = memory.get();
  }
  if (packed) plan.use(job, packed);
  threads(job.points.count * job.groups, 1,
          [&](int64_t begin, int64_t end) { kernels<T>().transform(job, begin, end); });
}

template <typename T>
void transform(const Array<T>& x_, const Array<T>& weight_, const std::optional<Array<T>>& bias, const Indices& start,
               const Indices& order, bool relu, bool transposed, Array<T>& y, int64_t threads) {
  if (y.size() == 0) return;
  View<const T> in;
  const Array<T> x = viewed<T>(x_, in), weight = checked_weight<T>(weight_, start.size());
  const View<T> out = view_of_result<T>(y);
  const Windows windows = windows_of(start, order, transposed ? out.channels : in.channels, weight.shape(1));
  require((transposed ? in.channels : out.channels) == start.size(), "there must be one channel per filter");
  const std::vector<Accumulator<T>> wide_bias = widened<T>(bias, out.channels);
  const py::gil_scoped_release release;
  const TransformPlan<T> plan(windows, transposed);
  run(plan, as_it_lies<T>(weight), nullptr, wide_bias, relu, in, out, Threads(threads));
}

template <typename T>
Bytes packed_weight(const Array<T>& weight_, const Indices& start, const Indices& order, int64_t in_channels,
                    int64_t threads) {
  const Array<T> weight = checked_weight<T>(weight_, start.size());
  const TransformPlan<T> plan(windows_of(start, order, in_channels, weight.shape(1)), false);
  Bytes packed(plan.bytes());
  void* const memory = packed.mutable_data();
  const py::gil_scoped_release release;
  plan.pack(as_it_lies<T>(weight), memory, Threads(threads));
  return packed;
}

template <typename T>
void transform_packed(const Array<T>& x_, const Bytes& packed, const std::optional<Array<T>>& bias,
                      const Indices& start, const Indices& order, int64_t width, bool relu, Array<T>& y,
                      int64_t threads) {
  if (y.size() == 0) return;
  View<const T> in;
  const Array<T> x = viewed<T>(x_, in);
  const View<T> out = view_of_result<T>(y);
  const Windows windows = windows_of(start, order, in.channels, width);
  require(out.channels == start.size(), "there must be one channel per filter");
  const std::vector<Accumulator<T>> wide_bias = widened<T>(bias, out.channels);
  const py::gil_scoped_release release;
  const TransformPlan<T> plan(windows, false);
  require(packed.size() == plan.bytes(), "packed must be a weight packed for these windows");
  run(plan, Weight<T>{}, packed.data(), wide_bias, relu, in, out, Threads(threads));
}

template <typename T>
void weight_grad(const Array<T>& grad_, const Array<T>& x_, const Indices& start, const Indices& order,
                 Array<T>& dweight, int64_t count) {
  require(dweight.ndim() == 2 && dweight.shape(0) == start.size() && dweight.flags() & py::array::c_style,
          "a weight's gradient must be contiguous, with one row per filter");
  T* const out = reinterpret_cast<T*>(dweight.mutable_data());
  if (x_.size() == 0) return std::fill_n(out, dweight.size(), T{}), void();
  View<const T> x_view, grad_view;
  const Array<T> x = viewed<T>(x_, x_view), grad = viewed<T>(grad_, grad_view);
  const Windows windows = windows_of(start, order, x_view.channels, dweight.shape(1));
  require(grad_view.channels == start.size(), "there must be one channel per filter");
  require(grad_view.batch == x_view.batch && grad_view.pixels == x_view.pixels, "grad must have the points of x");
  const py::gil_scoped_release release;
  const Threads threads(count);
  const WeightGradPlan<T> plan(windows, x_view, grad_view, threads.count());
  const std::unique_ptr<Accumulator<T>[]> partial(new Accumulator<T>[plan.partial_size()]);
  const WeightGradJob<T> job = plan.job(partial.get(), out);
  const WeightGrad<T>& kernel = plan.kernel();
  threads(plan.items(), 1, [&](int64_t begin, int64_t end) { kernel.run(job, begin, end); });
  threads(plan.tiles(), plan.grain(), [&](int64_t begin, int64_t end) { kernel.finish(job, begin, end); });
}

// One overload per element type: the array's own decides, nothing is converted.
template <typename T>
void define(py::module_& m) {
  const auto array = [](const char* name) { return py::arg(name).noconvert(); };
  const auto start = array("start"), order = array("order"), weight = array("weight"), bias = array("bias");
  const auto x = array("x"), y = array("y");
  m.def("transform", &transform<T>, x, weight, bias, start, order, py::arg("relu"), py::arg("transposed"), y,
        py::arg("threads"));
  m.def("pack", &packed_weight<T>, weight, start, order, py::arg("in_channels"), py::arg("threads"));
  m.def("transform_packed", &transform_packed<T>, x, array("packed"), bias, start, order, py::arg("width"),
        py::arg("relu"), y, py::arg("threads"));
  m.def("weight_grad", &weight_grad<T>, array("grad"), x, start, order, array("dweight"), py::arg("threads"));
  m.def("grouped_conv2d", &grouped_conv2d<T>, x, weight, bias, py::arg("stride"), py::arg("padding"), py::arg("dilation"),
        py::arg("groups"), py::arg("relu"), y, py::arg("threads"));
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (Isa isa : available_isas()) names.push_back(name_of(isa));
  return names;
}

const char* compiler() {
#if defined(__clang__)
  return "clang " __clang_version__;
#else
  return "gcc " __VERSION__;
#endif
}

PYBIND11_MODULE(_kernels, m, py::mod_gil_not_used()) {
  m.def("isa", [] { return name_of(chosen_isa()); });
  m.def("isas", &isas);
  m.def("compiler", &compiler);
  define<float>(m);
  define<double>(m);
  define<BFloat16>(m);
}

}  // namespace
}  // namespace multipath_gcn
