// Streams of the emulated driver, for the libraries that put work into them.
#pragma once

#include "device.hpp"

#include <deque>
#include <memory>
#include <mutex>

typedef unsigned long long CUdeviceptr;

struct Stream {
    std::deque<std::function<void()>> queue;
    uint64_t done = 0;
    // Where work is noted instead, while a graph is made of it.
    std::unique_ptr<std::vector<std::function<void()>>> notes;

    void add(std::function<void()> work);
    void run_to(uint64_t position);
    void run_all();
};
Stream &stream_of(void *handle);
std::recursive_mutex &driver_mutex();

// A kernel with copies of its parameters; empty for a grid that there is not.
std::function<void()> kernel_work(void *function, Dim3 grid, Dim3 threads, void **parameters);
