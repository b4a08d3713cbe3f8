// CPU path of engine.ops.crop_labels; a result row at a time.
#include <cstring>

#include "luss/crop_table.h"

// All arguments were checked by the caller; records[i].offset is even.
extern "C" void luss_crop_labels_cpu(const uint8_t* maps, const luss_image* records, const int32_t* numbers, const int32_t* rows,
                                     const int32_t* columns, int64_t count, int height, int width, int32_t* out, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t line = 0; line < count * height; ++line) {
        const int64_t crop = line / height;
        const luss_image& record = records[numbers[crop]];
        const uint8_t* from = maps + record.offset + static_cast<int64_t>(2) * rows[line] * record.width;
        const int32_t* at = columns + crop * width;
        int32_t* to = out + line * width;
        for (int x = 0; x < width; ++x) {
            uint16_t label;
            std::memcpy(&label, from + static_cast<int64_t>(2) * at[x], sizeof label);
            to[x] = label;
        }
    }
}
