#!/usr/bin/env bash
# In the folder that setup.sh has set up: compile.sh NAME makes NAME.cpu.spv and, with LLVM's loop-invariant code motion
# (LICM) off (0) and on (1), NAME.0.txt and NAME.1.txt, of NAME.cl. The texts are what Mesa says of the machine code.
# AGX_PEAK=0 in the environment: and what lives where most registers are needed; AGX_FLAGS=shaders: and the code.
set -euo pipefail
name=$1
rm -f "$name".[01].txt
# Names are kept or asahi_clc crashes.
clang-19 -S -emit-llvm -x cl -cl-std=clc++2021 -target spir64-unknown-unknown -O2 -Xclang -disable-llvm-passes \
    -fno-discard-value-names -cl-single-precision-constant -cl-no-signed-zeros -Wno-everything \
    -Xclang -finclude-default-header "$name.cl" -o "$name.ll"
# Without opencl.cxx.version llvm-spirv knows OpenCL's functions. Threadgroup pointers and native integers of 32 bits.
sed -i -e '/^!opencl.cxx.version/d' \
    -e 's/^target datalayout = "e-/target datalayout = "e-p3:32:32-/; /^target datalayout/s/-G1"/-n8:16:32-G1"/' \
    "$name.ll"
# As for a GPU: no jump threading, which LLVM leaves out where branches diverge, and loops in a form that Mesa knows. Calls
# that LLVM leaves at its usual threshold are put in place by Mesa.
passes=$(opt-19 -passes="default<O2>" --print-pipeline-passes -disable-output "$name.ll" 2> /dev/null |
    sed 's/jump-threading,//g')
last="function(lower-switch,fix-irreducible,unify-loop-exits,structurizecfg,instsimplify,dce)"
for licm in 1 0; do
    [ $licm = 1 ] || passes=$(sed -E 's/licm(<[^>]*>)?/no-op-loop/g' <<< "$passes")
    opt-19 -vectorize-loops=false -vectorize-slp=false -inline-threshold=225 -passes="$passes,$last" "$name.ll" \
        -o "$name.bc" 2> /dev/null
    llvm-spirv-19 "$name.bc" -o "$name.spv"
    NIR_DEBUG=novalidate AGX_DEMAND=1 AGX_MESA_DEBUG=${AGX_FLAGS:-shaderdb},internal \
        asahi_clc "$name.spv" "$name.h" "$name.c" > "$name.$licm.txt" 2>&1 || { tail -n 5 "$name.$licm.txt"; exit 1; }
done
# PoCL wants no function that asks for a position: the same code without those two.
opt-19 -S "$name.bc" 2> /dev/null | sed 's/ noinline / alwaysinline /' |
    opt-19 -passes=always-inline -o "$name.bc" 2> /dev/null
llvm-spirv-19 "$name.bc" -o "$name.cpu.spv"
rm -f "$name.ll" "$name.bc" "$name.h" "$name.c"
