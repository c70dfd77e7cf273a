// Which instruction set the kernels run with. Chosen once, at the first use: the widest the CPU has, or the one that the
// environment variable MULTIPATH_GCN_ISA names (baseline, avx2, avx512, avx512_bf16).
#pragma once
#include <string>
#include <vector>

namespace multipath_gcn {

enum class Isa { baseline, avx2, avx512, avx512_bf16 };

const char* name_of(Isa isa);
std::vector<Isa> available_isas();  // on this CPU, narrowest first

// Throws std::runtime_error if MULTIPATH_GCN_ISA names one that does not exist or that this CPU lacks.
Isa chosen_isa();

}  // namespace multipath_gcn
