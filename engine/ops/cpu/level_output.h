// From a line of levels 0..255, one plane a channel, to the result: value * scale[c] + shift[c] as float32 or float16, or the levels themselves.
#pragma once
#include <cstddef>
#include <cstdint>
#if defined(__F16C__)
#include <immintrin.h>
#endif

namespace luss {

enum LevelType { FLOAT32, FLOAT16, BYTES };

struct LevelOutput {
    int type, height, width;    // of every result: (3, height, width) floats, or (height, width, 3) bytes
    const float *scale, *shift; // (3,)
    const uint16_t* halves;     // (3, 256): what each level becomes as float16
    void* data;

    // Row y of result `number`; the channels of `line` are `stride` apart, 0 where all three are the same.
    void write(int64_t number, int y, const uint8_t* line, size_t stride) const {
        const size_t area = static_cast<size_t>(height) * width, first = 3 * area * number, row = static_cast<size_t>(y) * width;
        if (type == BYTES) return write_bytes(line, line + stride, line + 2 * stride, static_cast<uint8_t*>(data) + first + 3 * row);
        for (int c = 0; c < 3; ++c) {
            const size_t at = first + area * c + row;
            if (type == FLOAT32)
                write_floats(line + c * stride, scale[c], shift[c], static_cast<float*>(data) + at);
            else
                write_halves(line + c * stride, scale[c], shift[c], halves + 256 * c, static_cast<uint16_t*>(data) + at);
        }
    }

  private:
    void write_bytes(const uint8_t* __restrict r, const uint8_t* __restrict g, const uint8_t* __restrict b, uint8_t* __restrict out) const {
        for (int x = 0; x < width; ++x) out[3 * x] = r[x], out[3 * x + 1] = g[x], out[3 * x + 2] = b[x];
    }

    void write_floats(const uint8_t* __restrict from, float by, float plus, float* __restrict out) const {
#pragma omp simd
        for (int x = 0; x < width; ++x) out[x] = static_cast<float>(from[x]) * by + plus;
    }

    void write_halves(const uint8_t* from, float by, float plus, const uint16_t* table, uint16_t* out) const {
        int x = 0;
#if defined(__F16C__)
        for (; x + 8 <= width; x += 8) {
            const __m256i whole = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from + x)));
            const __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(whole), _mm256_set1_ps(by)), _mm256_set1_ps(plus));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(out + x), _mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT));
        }
#endif
        for (; x < width; ++x) out[x] = table[from[x]];
    }
};

} // namespace luss
