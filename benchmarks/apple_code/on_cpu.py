"""Runs SPIR-V on the CPU by PoCL, inside the folder that setup.sh has set up.

Jobs come on the standard input: a line of JSON, then the bytes of the buffers. The answer is a line, empty or an error,
and the bytes of all buffers.
"""

import json
import sys

import pyopencl as cl

device = cl.get_platforms()[0].get_devices()[0]
context = cl.Context([device])
queue = cl.CommandQueue(context, device)
kernels: dict = {}


def run(job: dict, buffers: list[bytearray]) -> None:
    key = job["spirv"], job["kernel"]
    if key not in kernels:
        with open(job["spirv"], "rb") as file:
            kernels[key] = cl.Kernel(cl.Program(context, file.read()).build(), job["kernel"])
    kernel = kernels[key]
    flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
    there = [cl.Buffer(context, flags, hostbuf=buffer) for buffer in buffers]
    for position, (kind, value) in enumerate(job["args"]):
        kernel.set_arg(position, there[value] if kind == "buffer" else bytes.fromhex(value))
    cl.enqueue_nd_range_kernel(queue, kernel, (job["groups"] * job["threads"],), (job["threads"],))
    for buffer, at in zip(buffers, there, strict=True):
        cl.enqueue_copy(queue, buffer, at)
    queue.finish()


for line in sys.stdin.buffer:
    job = json.loads(line)
    buffers = [bytearray(sys.stdin.buffer.read(size)) for size in job["sizes"]]
    try:
        run(job, buffers)
        answer = ""
    except Exception as error:  # whatever it is, the other side says it
        answer = f"{type(error).__name__}: {error}".replace("\n", " ")
    sys.stdout.buffer.write(answer.encode() + b"\n" + b"".join(buffers))
    sys.stdout.buffer.flush()
