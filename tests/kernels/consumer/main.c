/* Prints the library's version, its error for a bad argument, and that for a pointer that no GPU has; needs no GPU. */
#include <stdio.h>

#include <luss_kernels.h>

int main(void) {
    int32_t host[4] = {0, 0, 0, 0};
    luss_image_record record = {0, 1, 1};
    int code;
    printf("version %s\n", luss_version());
    code = luss_crop_labels(NULL, NULL, NULL, NULL, NULL, 1, 0, 8, NULL, NULL);
    printf("%d %s\n", code, luss_last_error());
    code = luss_crop_labels((const uint8_t*)host, &record, host, host, host, 1, 1, 1, host, NULL);
    printf("%d %s\n", code, luss_last_error());
    printf("scratch %lu\n", (unsigned long)luss_augment_crops_scratch(2, 4, 8, 3));
    return code == LUSS_OK;
}
