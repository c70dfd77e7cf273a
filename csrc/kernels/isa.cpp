#include "isa.h"

#include <cstdlib>
#include <stdexcept>

namespace multipath_gcn {

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::baseline: return "baseline";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
  }
  return "unknown";
}

std::vector<Isa> available_isas() {
  std::vector<Isa> found{Isa::baseline};
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(Isa::avx2);
  const bool avx512 = found.size() == 2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  if (avx512) found.push_back(Isa::avx512);
  if (avx512 && __builtin_cpu_supports("avx512bf16")) found.push_back(Isa::avx512_bf16);
#endif
  return found;
}

namespace {

Isa choose() {
  const std::vector<Isa> found = available_isas();
  const char* wanted = std::getenv("MULTIPATH_GCN_ISA");
  if (wanted == nullptr || *wanted == '\0') return found.back();
  std::string names;
  for (Isa isa : found) {
    if (std::string(wanted) == name_of(isa)) return isa;
    names += (names.empty() ? "" : ", ") + std::string(name_of(isa));
  }
  throw std::runtime_error("MULTIPATH_GCN_ISA must be one of " + names + " on this CPU, got '" + wanted + "'");
}

}  // namespace

Isa chosen_isa() {
  static const Isa isa = choose();
  return isa;
}

}  // namespace multipath_gcn
