"""A record as large as accept's for each getpgid(), by bcc: a Python callback writes its line.

Its ring is as large as that of `locality accept`. Reads no structure of the kernel's, so the
headers it is compiled with need not be those of the running kernel.
"""

import ctypes
import signal
import sys
from types import FrameType

from bcc import BPF

TEXT = """
#include <uapi/linux/ptrace.h>

struct event {
    u64 time;
    u32 cpu;
    u32 pid;
    char comm[16];
    u8 rest[RECORD_BYTES - 32];
};
BPF_RINGBUF_OUTPUT(events, 4 << 20 >> 12);
BPF_ARRAY(lost, u64, 1);

RAW_TRACEPOINT_PROBE(sys_enter)
{
    struct event *event;
    int first = 0;

    if (ctx->args[1] != NUMBER)
        return 0;
    event = events.ringbuf_reserve(sizeof(*event));
    if (!event) {
        lost.increment(first);
        return 0;
    }
    event->time = bpf_ktime_get_ns();
    event->cpu = bpf_get_smp_processor_id();
    event->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_get_current_comm(&event->comm, sizeof(event->comm));
    events.ringbuf_submit(event, 0);
    return 0;
}
"""


def main() -> None:
    """Print a line for each call until SIGINT, then how many were lost."""
    number, record_bytes = sys.argv[1:]
    text = TEXT.replace("NUMBER", number).replace("RECORD_BYTES", record_bytes)
    b = BPF(text=text)
    events = b["events"]
    going = True

    def write(_context: object, data: ctypes.c_void_p, _size: int) -> None:
        event = events.event(data)
        sys.stdout.write(f"{event.time} cpu=#{event.cpu} pid={event.pid} {event.comm.decode()}\n")

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal going
        going = False

    signal.signal(signal.SIGINT, stop)
    events.open_ring_buffer(write)
    print("attached", flush=True)
    while going:
        b.ring_buffer_poll(timeout=100)
    sys.stdout.flush()
    print(f"lost {b['lost'][0].value}", flush=True)


if __name__ == "__main__":
    main()
