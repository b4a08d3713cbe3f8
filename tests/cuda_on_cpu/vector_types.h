// CUDA's short vectors, aligned as CUDA aligns them.
#pragma once
#include <cstdint>

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

#define LUSS_VECTOR2(name, type)                                          \
    struct alignas(2 * sizeof(type)) name {                               \
        type x, y;                                                        \
    };                                                                    \
    inline name make_##name(type x, type y) { return name{x, y}; }
#define LUSS_VECTOR4(name, type, alignment)                               \
    struct alignas(alignment) name {                                      \
        type x, y, z, w;                                                  \
    };                                                                    \
    inline name make_##name(type x, type y, type z, type w) { return name{x, y, z, w}; }
LUSS_VECTOR2(char2, signed char)
LUSS_VECTOR2(uchar2, unsigned char)
LUSS_VECTOR2(short2, short)
LUSS_VECTOR2(ushort2, unsigned short)
LUSS_VECTOR2(int2, int)
LUSS_VECTOR2(uint2, unsigned)
LUSS_VECTOR2(float2, float)
LUSS_VECTOR2(double2, double)
LUSS_VECTOR2(longlong2, long long)
LUSS_VECTOR2(ulonglong2, unsigned long long)
LUSS_VECTOR4(uchar4, unsigned char, 4)
LUSS_VECTOR4(short4, short, 8)
LUSS_VECTOR4(ushort4, unsigned short, 8)
LUSS_VECTOR4(int4, int, 16)
LUSS_VECTOR4(uint4, unsigned, 16)
LUSS_VECTOR4(float4, float, 16)
#undef LUSS_VECTOR2
#undef LUSS_VECTOR4
