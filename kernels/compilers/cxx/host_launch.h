// What a kernel library built for the simulator exports, beside one function per kernel.
// Included after <metal_stdlib> and the kernels; the fibers themselves live in simulator.cpp.
#pragma once
#include "launch.h"
#define MSL_EXPORT __attribute__((visibility("default"), used))
extern "C" MSL_EXPORT void msl_bind(const msl::Runtime* table) { msl::runtime = *table; }
extern "C" MSL_EXPORT msl::ThreadgroupVariable* msl_variables() { return msl::threadgroup_variables; }
