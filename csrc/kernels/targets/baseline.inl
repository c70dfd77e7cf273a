// What every compiler of this architecture may emit.
#define ISA_TARGET
#define HAS_PAIR_DOT 0
#define VECTOR_BYTES 16
