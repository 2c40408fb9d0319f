"""The experiment with a network card that has queues: `make demo-vm`.

`locality demo` on a machine of its own: a guest with nginx, its card a tap in a network
namespace of ours, and wrk in that namespace. Nothing of this machine's network is touched,
and all of it goes when this process does.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from locality.errors import LocalityError
from locality.lab.experiment import URL
from locality.lab.namespaces import namespace
from locality.lab.network import CLIENT_ADDRESS, CLIENT_SYSCTLS
from locality.lab.programs import PACKAGES, require
from tests.vm.guest import Ended, run
from tests.vm.guest_nic import qemu_card
from tests.vm.kernel_images import USUAL, CannotBoot, KernelImage, kernel_image
from tests.vm.load_wire import serving_load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from locality.lab.namespaces import Namespace

CPUS = 4
SECONDS = 3.0
TIMEOUT = 1800  # eight emulated CPUs on two busy ones take minutes to boot
TAP = "tap0"


def experiment(
    image: KernelImage,
    command: Sequence[str],
    *,
    share: Path,
    cpus: int = CPUS,
    layout: str = "",
    follow: bool = False,
) -> Ended:
    """Boot a guest and let it run an experiment; its figures come to `share`.

    Args:
        image: The kernel.
        command: The module to run there, and its arguments.
        share: As for `tests.vm.guest.run`.
        cpus: CPUs of the guest, queues of its card.
        layout: Sockets, cores and threads that make up the CPUs, as of QEMU's -smp.
        follow: Copy what the guest prints to stdout as it comes.

    Raises:
        LocalityError: Not root, or a program is missing, or the tap could not be made.
        CannotBoot: The guest could not be started.
    """
    require({**PACKAGES, "ethtool": "ethtool"})
    color = "FORCE_COLOR=1 " if follow and sys.stdout.isatty() else ""
    with namespace() as client, serving_load(client, URL, threads=2) as port:
        make_tap(client, TAP)
        return run(
            image,
            f"{color}exec python -m {shlex.join(command)}",
            share=share,
            timeout=TIMEOUT,
            cpus=f"cpus={cpus},{layout}" if layout else cpus,
            follow=follow,
            qemu=(*port, *qemu_card(TAP, cpus)),
            # The network alone: the guest's files are to be this machine's.
            inside=("nsenter", f"--net=/proc/{client.pid}/ns/net", "--"),
        )


def phases_of(seconds: float) -> tuple[str, ...]:
    """The command of the demo's experiment, with so many seconds for a phase."""
    return ("tests.vm.nic_experiment", "--seconds", str(seconds))


def make_tap(client: Namespace, tap: str) -> None:
    """Make the client's end of the cable, for QEMU to plug the card in."""
    client.run("ip", "tuntap", "add", "dev", tap, "mode", "tap", "multi_queue")
    client.run("ip", "address", "add", f"{CLIENT_ADDRESS}/24", "dev", tap)
    client.run("ip", "link", "set", tap, "up")
    for name, value in CLIENT_SYSCTLS.items():
        client.write(f"/proc/sys/{name}", value)


def main() -> int:
    """Run it once; return 0 if every phase showed what it must."""
    parser = argparse.ArgumentParser(
        prog="demo-vm", description="The experiment in a guest whose network card has queues."
    )
    parser.add_argument("kernel", nargs="?", default="6.12", choices=USUAL)
    parser.add_argument("--cpus", type=int, default=CPUS, choices=(2, 4, 6, 8), help="default: 4")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a phase (default: 3)")
    arguments = parser.parse_args()
    # To be killed is to be interrupted: temporary directories go, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="locality-share-") as share:
        try:
            image = kernel_image(arguments.kernel)
            sys.stdout.write(
                f"Linux {image.version} in a guest with {arguments.cpus} emulated CPUs: takes a "
                "minute or two;\nits percentages count, its rates do not\n"
            )
            sys.stdout.flush()
            ended = experiment(
                image,
                phases_of(arguments.seconds),
                share=Path(share),
                cpus=arguments.cpus,
                follow=True,
            )
        except (CannotBoot, LocalityError) as reason:
            parser.exit(1, f"demo-vm: {reason}\n")
        except KeyboardInterrupt:
            return 130
    if ended.status is None:
        sys.stderr.write(ended.console)
        parser.exit(1, f"demo-vm: the guest ended after {ended.seconds:.0f} s, unfinished\n")
    return ended.status


if __name__ == "__main__":
    sys.exit(main())
