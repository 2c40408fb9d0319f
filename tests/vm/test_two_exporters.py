"""Two guests, each with an exporter, and one Prometheus here that asks both."""

from __future__ import annotations

import json
import shutil
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.live.helpers.ports import free_port
from tests.live.helpers.prometheus import prometheus
from tests.live.helpers.traffic import PATIENCE
from tests.vm.exporting_guest import PORT
from tests.vm.guest import Ended, run
from tests.vm.kernel_images import CannotBoot, KernelImage, kernel_image

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KERNEL = "6.12"
pytestmark = [
    pytest.mark.vm,
    pytest.mark.kernel(KERNEL),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="limitation: no Prometheus here"),
]

TIMEOUT = 600


@dataclass
class Guest:
    """One that runs tests/vm/exporting_guest.py.

    Attributes:
        share: A directory that it has as /run/share.
        arguments: Of the program.
        port: Of this machine, behind which its exporter is.
        ended: How it ended.
    """

    share: Path
    arguments: str
    port: int = field(default_factory=free_port)
    ended: list[Ended] = field(default_factory=list)

    @property
    def instance(self) -> str:
        return f"127.0.0.1:{self.port}"

    def boot(self, image: KernelImage) -> None:
        # Restricted: nothing that the guest sends leaves QEMU but the answers of its exporter.
        forward = f"hostfwd=tcp:{self.instance}-:{PORT}"
        card = ("-netdev", f"user,id=card,restrict=on,{forward}")
        ended = run(
            image,
            f"python -m tests.vm.exporting_guest {self.arguments}",
            share=self.share,
            timeout=TIMEOUT,
            cpus=2,
            memory="1G",
            qemu=(*card, "-device", "virtio-net-pci,netdev=card"),
        )
        self.ended.append(ended)

    def tell(self, name: str) -> None:
        (self.share / name).touch()

    def wait_for(self, name: str) -> str:
        """What is in a file that the guest writes."""
        while not (self.share / name).exists():
            assert not self.ended, self.ended[0].output + self.ended[0].console[-5000:]
            time.sleep(0.2)
        return (self.share / name).read_text()


@contextmanager
def booted(guests: list[Guest]) -> Iterator[None]:
    """Both at once; when the block ends they are told to finish."""
    try:
        image = kernel_image(KERNEL)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    threads = [threading.Thread(target=one.boot, args=(image,), daemon=True) for one in guests]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for guest in guests:
            guest.tell("go")
            guest.tell("finish")
        for thread in threads:
            thread.join()


# Bugs: an exporter that can only be asked from its own machine; the counts of one host in the
# series of another; a sum over hosts that is not that of what each host counted itself.
def test_one_prometheus_knows_what_each_host_counted(tmp_path: Path) -> None:
    guests = []
    for name, arguments in (("hashed", "211"), ("steered", "300 --steer")):
        (tmp_path / name).mkdir()
        guests.append(Guest(tmp_path / name, arguments))
    with booted(guests):
        for guest in guests:
            guest.wait_for("ready")
        (tmp_path / "prometheus").mkdir()
        targets = [guest.instance for guest in guests]
        with prometheus(tmp_path / "prometheus", *targets, every="2s") as server:
            for guest in guests:
                guest.tell("go")
            counted = {guest.instance: json.loads(guest.wait_for("counted")) for guest in guests}
            expected = {instance: sum(counts.values()) for instance, counts in counted.items()}
            totals = "sum by (instance) (locality_accepts_total)"
            deadline = time.monotonic() + PATIENCE
            while server.ask(totals, "instance") != expected:
                assert time.monotonic() < deadline, (server.ask(totals, "instance"), expected)
                time.sleep(0.5)
            by_distance = {
                instance: server.ask(f'locality_accepts_total{{instance="{instance}"}} > 0')
                for instance in targets
            }
            shares = server.ask(
                f'sum by (instance) (locality_accepts_total{{distance="cpu"}}) / {totals}',
                "instance",
            )
            lost = server.ask("sum(locality_events_lost_total)")
    hashed, steered = targets
    assert expected == {hashed: 211, steered: 300}
    assert by_distance == counted
    assert shares[steered] >= 0.98
    assert 0.3 < shares[hashed] < 0.7
    assert [*lost.values()] == [0]
    assert [guest.ended[0].status for guest in guests] == [0, 0]
