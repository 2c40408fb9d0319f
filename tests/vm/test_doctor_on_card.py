"""The doctor on a card with four queues: interrupts, RSS table, RPS, RFS, XPS, and all back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from locality.lab.namespaces import namespace
from tests.vm.guest import run
from tests.vm.guest_nic import qemu_card
from tests.vm.kernel_images import CannotBoot, kernel_image

KERNEL = "6.12"
pytestmark = [pytest.mark.vm, pytest.mark.kernel(KERNEL)]

QUEUES = 4
TIMEOUT = 600


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/vm/doctor_on_card.py saw in the guest."""
    share = tmp_path_factory.mktemp("card")
    try:
        image = kernel_image(KERNEL)
        with namespace() as outside:
            outside.run("ip", "tuntap", "add", "tap0", "mode", "tap", "multi_queue")
            outside.run("ip", "address", "add", "198.18.0.2/24", "dev", "tap0")
            outside.run("ip", "link", "set", "tap0", "up")
            ended = run(
                image,
                "python -m tests.vm.doctor_on_card >/run/share/seen",
                share=share,
                timeout=TIMEOUT,
                cpus=QUEUES,
                qemu=qemu_card("tap0", QUEUES),
                inside=("nsenter", "--target", str(outside.pid), "--net", "--"),
            )
    except CannotBoot as reason:
        pytest.skip(str(reason))
    assert ended.status == 0, ended.output + ended.console[-5000:]
    answers: dict[str, Any] = json.loads((share / "seen").read_text())
    return answers


# Bugs: a finding that is missed on a card as bad as can be; a state that the test did not reach.
def test_everything_bad_is_found(seen: dict[str, Any]) -> None:
    assert seen["refused"] > 0, "no packet came back: the card was not used"
    status, text = seen["doctor"]
    assert status == 3, text
    link = seen["link"]
    costs = {line.removeprefix("costs locality: ") for line in text.splitlines() if line}
    for subject in ("interrupts", "RSS table", "RPS"):
        assert f"{link} {subject}" in costs, text
    assert "skb_defer_max" in costs, text
    for subject in ("XPS", "RFS"):
        assert f"may cost locality: {link} {subject}" in text
    assert "queues 1,3 get nothing" in text


# Bugs: a change that is announced and not made, or whose effect is not what the check wants.
def test_after_the_fix_nothing_bad_is_left(seen: dict[str, Any]) -> None:
    status, text = seen["fix"]
    assert status == 0, text
    status, text = seen["doctor again"]
    assert status == 0, text
    assert "each RX queue on a CPU of its own: 0-3" in text
    assert "even over 4 queues" in text
    assert "each CPU sends on the queue it serves" in text


# Bugs: an RSS table that comes back even; a mask in another spelling, or of another queue; a
# difference that is kept quiet. With a wide mask it is the kernel's choice, made at the next
# interrupt, where in it one arrives: undo can only say that it is another CPU.
def test_undo_leaves_every_byte_as_before(seen: dict[str, Any]) -> None:
    before, fixed, back = seen["before"], seen["fixed"], seen["back"]
    changed = {path for path in before if before[path] != fixed[path]}
    assert "table" in changed
    assert any(path.endswith("effective_affinity_list") for path in changed)
    assert any(path.endswith("xps_cpus") for path in changed)
    _status, text = seen["undo"]
    complaints = [line for line in text.splitlines() if "not put back: " in line]
    assert all("the kernel lets the interrupt arrive" in line for line in complaints), text
    different = {path for path in before if before[path] != back[path]}
    assert all("/effective_affinity" in path for path in different), different
    told = {line.split("not put back: /proc/irq/")[1].split("/")[0] for line in complaints}
    assert {path.split("/")[3] for path in different} <= told
