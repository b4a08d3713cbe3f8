// operations.cc as for sm_80: m16n8k16 in one instruction, asynchronous copies.
#define LUSS_SM 80
#include "operations.cc"
