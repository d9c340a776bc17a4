#!/usr/bin/env bash
# Sets up a folder in which Metal text becomes machine code for Apple GPUs: benchmarks/apple_code/setup.sh ROOT
#
# On any Debian, as root: a Debian of a fixed suite with clang, llvm-spirv, PoCL, and Mesa's compiler for Apple's G13 (the
# Asahi driver's, MIT licence) with the edits in mesa-25.0.7.patch. Takes minutes, 3 GB, and nothing but Debian's archive,
# from the mirror in the machine's own apt sources. Whatever does not go as expected ends it.
set -euo pipefail

suite=trixie llvm=19 mesa=25.0.7
mesa_sha256=592272df3cf01e85e7db300c449df5061092574d099da275d19e97ef0510f8a6
root=${1:?usage: setup.sh ROOT, a folder that does not exist}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ ! -e "$root" ] || { echo "$root exists: remove it first"; exit 1; }

mirror=$(find /etc/apt \( -name '*.list' -o -name '*.sources' \) -exec \
    sed -nE 's/^(URIs:|deb)( \[[^]]*\])? +([^ ]+).*/\3/p' {} + | sed -n 1p)
[ -n "$mirror" ] || { echo "no mirror in /etc/apt/sources.list or sources.list.d"; exit 1; }
command -v debootstrap > /dev/null || { apt-get update -qq; apt-get install -y -qq debootstrap > /dev/null; }
mkdir -p "$root"
log=$root.log
trap '[ $? = 0 ] || { tail -n 20 "$log"; echo "not set up; see $log"; }' EXIT
step() { printf '%s (%ss)\n' "$1" "$SECONDS"; }
inside() { chroot "$root" env DEBIAN_FRONTEND=noninteractive LC_ALL=C bash -euo pipefail -c "$1" >> "$log" 2>&1; }

step "Debian $suite"
debootstrap --variant=minbase "$suite" "$root" "$mirror" > "$log" 2>&1
printf '%s %s %s main\n' deb "$mirror" "$suite" deb-src "$mirror" "$suite" > "$root/etc/apt/sources.list"
cp /etc/resolv.conf "$root/etc/resolv.conf"
cp /etc/apt/apt.conf.d/* "$root/etc/apt/apt.conf.d/" # how apt reaches the mirror from here

step "packages"
inside "apt-get update -qq
    apt-get install -y -qq --no-install-recommends dpkg-dev gcc g++ meson ninja-build pkgconf python3-mako python3-yaml \
        python3-packaging bison flex patch xz-utils libdrm-dev libexpat1-dev zlib1g-dev libelf-dev libzstd-dev spirv-tools \
        glslang-tools clang-$llvm llvm-$llvm llvm-$llvm-dev libclang-$llvm-dev libclang-cpp$llvm-dev llvm-spirv-$llvm \
        libllvmspirvlib-$llvm-dev libclc-$llvm libclc-$llvm-dev pocl-opencl-icd python3-pyopencl"

step "Mesa $mesa"
cp "$here/mesa-$mesa.patch" "$root/usr/src/"
inside "cd /usr/src
    apt-get source -qq --download-only mesa
    echo '$mesa_sha256  mesa_$mesa.orig.tar.xz' | sha256sum --check
    mkdir mesa
    tar xf mesa_$mesa.orig.tar.xz -C mesa --strip-components=1
    patch -d mesa -p1 --fuzz=0 < mesa-$mesa.patch
    rm mesa_*"
# Ninja is asked for asahi_clc alone, which takes mesa_clc along (for Mesa's own kernels).
inside "cd /usr/src/mesa
    meson setup build --buildtype=release -Doptimization=1 -Db_ndebug=false -Dgallium-drivers= -Dvulkan-drivers=asahi \
        -Dtools=asahi -Dplatforms= -Dglx=disabled -Degl=disabled -Dgbm=disabled -Dopengl=false -Dgles1=disabled \
        -Dgles2=disabled -Dllvm=enabled -Dshared-llvm=enabled -Dvalgrind=disabled -Dlibunwind=disabled \
        -Dlmsensors=disabled -Dbuild-tests=false -Dvideo-codecs= -Dxmlconfig=disabled -Dzstd=disabled \
        -Dmesa-clc=enabled -Dprecomp-compiler=enabled
    ninja -C build src/asahi/clc/asahi_clc
    cp build/src/asahi/clc/asahi_clc /usr/local/bin/
    apt-get clean"

# A patch with no effect would be one that is not in the program.
inside "grep -q 'DEMAND: ' /usr/local/bin/asahi_clc && grep -q 'PEAK %u' /usr/local/bin/asahi_clc"
printf 'Mesa %s, %s\n' "$mesa" "$(chroot "$root" dpkg-query -W -f '${Package} ${Version}, ' "clang-$llvm" "llvm-spirv-$llvm" \
    pocl-opencl-icd | sed 's/, $//')" > "$root/versions"
mkdir "$root/kernels"
step "ready: $(cat "$root/versions")"
