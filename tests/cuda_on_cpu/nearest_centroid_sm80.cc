// nearest_centroid.cc as for sm_80: m16n8k16, asynchronous copies in three stages.
#define LUSS_SM 80
#include "nearest_centroid.cc"
