"""2017's locality.stp, by bcc: packets freed on the CPU that allocated them, and on others.

Prints a line each second until SIGINT.
"""

import signal
import sys

from bcc import BPF

COUNTS = ("rx elsewhere", "rx local", "tx elsewhere", "tx local")
TEXT = """
#include <uapi/linux/ptrace.h>
#include <linux/skbuff.h>

BPF_PERCPU_ARRAY(counts, u64, 4);

static __always_inline void count(struct sk_buff *skb, int budget, int in_napi)
{
    struct sk_buff copy;
    int which;
    u64 *counter;

    bpf_probe_read_kernel(&copy, sizeof(copy), skb);
    if (in_napi && (!budget || copy.fclone != SKB_FCLONE_UNAVAILABLE ||
                    copy.users.refs.counter != 1))
        return;
    if (copy.skb_iif)
        which = 0;
    else if (copy.fclone == SKB_FCLONE_ORIG && copy.skb_mstamp_ns)
        which = 2;
    else if (copy.fclone == SKB_FCLONE_UNAVAILABLE && copy.sender_cpu &&
             copy.sender_cpu <= POSSIBLE_CPUS && copy.pkt_type != 4)
        which = 2;
    else
        return;
    which += copy.alloc_cpu == bpf_get_smp_processor_id();
    counter = counts.lookup(&which);
    if (counter)
        (*counter)++;
}

int kprobe__kfree_skbmem(struct pt_regs *ctx, struct sk_buff *skb)
{
    count(skb, 0, 0);
    return 0;
}

int kprobe____kfree_skb_defer(struct pt_regs *ctx, struct sk_buff *skb)
{
    count(skb, 0, 0);
    return 0;
}

int kprobe__napi_consume_skb(struct pt_regs *ctx, struct sk_buff *skb, int budget)
{
    if (skb)
        count(skb, budget, 1);
    return 0;
}
"""


def main() -> None:
    """Count until SIGINT."""
    b = BPF(text=TEXT.replace("POSSIBLE_CPUS", sys.argv[1]))
    # To be sent SIGINT while it is being set up is not to be waited for.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    print("attached", flush=True)
    counts = b["counts"]
    going = True
    while going:
        going = signal.sigtimedwait({signal.SIGINT}, 1) is None
        packets = [counts.sum(number).value for number in range(len(COUNTS))]
        counts.clear()
        print(
            ", ".join(f"{name} {count}" for name, count in zip(COUNTS, packets, strict=True)),
            flush=True,
        )


if __name__ == "__main__":
    main()
