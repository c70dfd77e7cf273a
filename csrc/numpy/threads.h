// Threads of a call's own.
#pragma once
#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace multipath_gcn {

// Calls a body on parts of a range, every part but the first in a thread of its own.
class Threads {
 public:
  explicit Threads(int64_t count) : count_(std::clamp<int64_t>(count, 1, 1024)) {}
  int64_t count() const { return count_; }

  template <typename Body>
  void operator()(int64_t items, int64_t grain, const Body& body) const {
    const int64_t parts = std::clamp<int64_t>((items + grain - 1) / grain, 1, count_);
    std::vector<std::exception_ptr> thrown(parts);
    const auto part = [&](int64_t i) noexcept {
      try {
        body(items * i / parts, items * (i + 1) / parts);
      } catch (...) {
        thrown[i] = std::current_exception();
      }
    };
    std::vector<std::thread> others;
    others.reserve(parts);
    for (int64_t i = 1; i < parts; ++i) {
      try {
        others.emplace_back(part, i);
      } catch (const std::exception&) {  // the system has no thread to give
        part(i);
      }
    }
    part(0);
    for (std::thread& other : others) other.join();
    for (const std::exception_ptr& error : thrown)
      if (error) std::rethrow_exception(error);
  }

 private:
  int64_t count_;
};

}  // namespace multipath_gcn
