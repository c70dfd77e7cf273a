// Memory that a thread keeps from call to call, aligned to a page, all zeros at first: to be thread_local.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace multipath_gcn {

class ThreadMemory {
 public:
  // What was there before is lost where it grows.
  void* at_least(int64_t bytes) {
    if (bytes <= size_) return memory_.get();
    memory_.reset();
    size_ = 0;
    const size_t rounded = (static_cast<size_t>(bytes) + 4095) / 4096 * 4096;
    memory_.reset(std::aligned_alloc(4096, rounded));
    if (!memory_) throw std::bad_alloc();
    std::memset(memory_.get(), 0, rounded);
    size_ = static_cast<int64_t>(rounded);
    return memory_.get();
  }

 private:
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  std::unique_ptr<void, Free> memory_;
  int64_t size_ = 0;
};

}  // namespace multipath_gcn
