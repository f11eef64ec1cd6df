// Values in the memory of the GPU that are floats or of 16 bits, as libraries take them.
#pragma once

#include <cstdint>
#include <cstring>

// The values kept at one address, read and written by their place.
struct Values {
    enum Type { FLOAT, BFLOAT16, HALF };

    void *first;
    Type type;

    float get(size_t i) const {
        if (type == FLOAT)
            return ((const float *)first)[i];
        if (type == HALF)
            return ((const _Float16 *)first)[i];
        uint32_t bits = (uint32_t)((const uint16_t *)first)[i] << 16;
        float value;
        memcpy(&value, &bits, 4);
        return value;
    }
    void set(size_t i, float value) const {
        if (type == FLOAT) {
            ((float *)first)[i] = value;
            return;
        }
        if (type == HALF) {
            ((_Float16 *)first)[i] = (_Float16)value;
            return;
        }
        uint32_t bits;
        memcpy(&bits, &value, 4);
        ((uint16_t *)first)[i] = value != value ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
    }
};
