// Values in the memory of the GPU that are floats or their upper halves, as libraries take them.
#pragma once

#include <cstdint>
#include <cstring>

// Reads and writes values of one of the two types by their place.
struct Values {
    void *first;
    bool halves;

    float get(size_t i) const {
        if (!halves)
            return ((const float *)first)[i];
        uint32_t bits = (uint32_t)((const uint16_t *)first)[i] << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    void set(size_t i, float value) const {
        if (!halves) {
            ((float *)first)[i] = value;
            return;
        }
        uint32_t bits;
        memcpy(&bits, &value, 4);
        ((uint16_t *)first)[i] = value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
};
