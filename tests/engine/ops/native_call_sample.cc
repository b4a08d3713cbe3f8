// For test_native_call.py: out = a + numbers[1] b of numbers[0] elements, largest = the largest of out; returns numbers[2].
extern "C" int luss_sample_add(const void* a, const void* b, void* out, void* largest, const double* numbers) {
    const float *x = static_cast<const float*>(a), *y = static_cast<const float*>(b);
    float *to = static_cast<float*>(out), *most = static_cast<float*>(largest);
    for (int i = 0; i < static_cast<int>(numbers[0]); ++i) {
        to[i] = x[i] + static_cast<float>(numbers[1]) * y[i];
        *most = i == 0 || to[i] > *most ? to[i] : *most;
    }
    return static_cast<int>(numbers[2]);
}
