// Arrays between unmapped pages, and the fault that everything here reports.
#pragma once
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace cuda_on_cpu {

struct Fault : std::runtime_error {
    using std::runtime_error::runtime_error;
};

constexpr unsigned char POISON = 0xA5;
constexpr size_t PAGE = 4096;

// Bytes that end where an unmapped page begins (up to the alignment), with another before them and a checked filling in between.
class GuardedBytes {
  public:
    explicit GuardedBytes(size_t size, size_t alignment = 16) : size_(size) {
        room_ = (size + alignment + PAGE - 1) / PAGE * PAGE;
        base_ = static_cast<unsigned char*>(mmap(nullptr, room_ + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        if (base_ == MAP_FAILED || mprotect(base_ + PAGE, room_, PROT_READ | PROT_WRITE) != 0) throw Fault("no memory for a guarded array");
        std::memset(base_ + PAGE, POISON, room_);
        data_ = base_ + PAGE + (room_ - size) / alignment * alignment;
    }
    GuardedBytes(const GuardedBytes&) = delete;
    ~GuardedBytes() { munmap(base_, room_ + 2 * PAGE); }
    unsigned char* data() { return data_; }
    size_t size() const { return size_; }
    void check(const char* name) const {
        const auto poisoned = [](unsigned char c) { return c == POISON; };
        if (!std::all_of(base_ + PAGE, data_, poisoned)) throw Fault(std::string("written before the start of ") + name);
        if (!std::all_of(data_ + size_, base_ + PAGE + room_, poisoned)) throw Fault(std::string("written past the end of ") + name);
    }

  private:
    size_t size_, room_;
    unsigned char *base_, *data_;
};

template <class T> class Guarded {
  public:
    explicit Guarded(size_t count) : bytes_(count * sizeof(T), alignof(T)) {}
    Guarded(const void* from, size_t count) : Guarded(count) { std::memcpy(bytes_.data(), from, bytes_.size()); }
    T* data() { return reinterpret_cast<T*>(bytes_.data()); }
    void copy_to(void* to, const char* name) {
        bytes_.check(name);
        std::memcpy(to, bytes_.data(), bytes_.size());
    }

  private:
    GuardedBytes bytes_;
};

} // namespace cuda_on_cpu
