// Streams of the emulated driver, for the libraries that put work into them.
#pragma once

#include "device.hpp"

#include <deque>
#include <mutex>

typedef unsigned long long CUdeviceptr;

struct Stream {
    std::deque<std::function<void()>> queue;
    uint64_t done = 0;

    void add(std::function<void()> work);
    void run_to(uint64_t position);
    void run_all();
};
Stream &stream_of(void *handle);
std::recursive_mutex &driver_mutex();
