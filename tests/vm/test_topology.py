"""Distances on machines put together for it: sockets, cores, threads and nodes of a guest.

One guest has every distance, first with all CPUs and then with one offline; another has a single
CPU. In each the live tests of distances run.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from locality.machine.topology import Distance
from tests.vm.guest import run
from tests.vm.kernel_images import CannotBoot, kernel_image

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = "6.12"
pytestmark = [pytest.mark.vm, pytest.mark.kernel(KERNEL)]

#: One is enough: what is far apart does not depend on who saw it.
RUNG = "fentry"
SECONDS = 900
TAIL = 20_000  # characters of a log that fit in a failure's message

#: Three sockets of two cores of two threads and one L3, two of them on node 0. Of the third the
#: first CPU is enough; whether the others are possible is up to the kernel.
CPUS = "cpus=9,maxcpus=12,sockets=3,cores=2,threads=2"
NODES = ("1G,cpus=0-7", "1G,cpus=8-11")
OFFLINE = 3

CPU, CORE, LLC, NODE, REMOTE, UNKNOWN = Distance
FROM_CPU_0 = [CPU, CORE, LLC, LLC, NODE, NODE, NODE, NODE, REMOTE]

SCRIPT = """
python - <<'END' >/run/share/{name}.json
import json
from locality.machine import topology
read = topology.read()
print(json.dumps([read.online, read.distances[0].tolist()]))
END
LOCALITY_RUNG={rung} timeout --kill-after=10 {seconds} \
python -m pytest tests/live/measure/test_distance.py \
-p no:cacheprovider --color=no -o faulthandler_timeout=300 \
--junitxml=/run/share/{name}.xml >/run/share/{name}.log 2>&1
echo $? >/run/share/{name}.status
"""


def boot(share: Path, script: str, cpus: str, numa: tuple[str, ...] = ()) -> None:
    """Run a script in a guest; the test is skipped if there can be none."""
    try:
        image = kernel_image(KERNEL)
        ended = run(image, script, share=share, timeout=SECONDS, cpus=cpus, numa=numa)
    except CannotBoot as reason:
        pytest.skip(str(reason))
    assert ended.status == 0, f"{ended.output}\n{ended.console[-TAIL:]}"


def distances_tried(share: Path, name: str) -> set[str]:
    """The distances for which the live tests passed, all of them and without a skip."""
    log = (share / f"{name}.log").read_text(errors="replace")[-TAIL:]
    assert (share / f"{name}.status").read_text().strip() == "0", log
    cases = list(ET.parse(share / f"{name}.xml").iter("testcase"))  # noqa: S314 - pytest wrote it
    assert not [case for case in cases if case.find("skipped") is not None], log
    tried = [case.get("name", "") for case in cases if "[" in case.get("name", "")]
    words = {distance.word for distance in Distance}
    return words & {
        part for name in tried for part in name.partition("[")[2].rstrip("]").split("-")
    }


# Bugs: a distance that no machine at hand has is counted as another; threads of a core, or sockets
# of a node, told apart by their numbers; CPUs that are not there, or go offline, end in an error or
# shift the others.
def test_every_distance_and_an_offline_cpu(tmp_path: Path) -> None:
    script = SCRIPT.format(name="all", rung=RUNG, seconds=SECONDS)
    script += f"echo 0 >/sys/devices/system/cpu/cpu{OFFLINE}/online || exit 1\n"
    script += SCRIPT.format(name="offline", rung=RUNG, seconds=SECONDS)
    boot(tmp_path, script, CPUS, NODES)
    online, distances = json.loads((tmp_path / "all.json").read_text())
    assert online == list(range(9))
    assert distances[:9] == FROM_CPU_0
    assert set(distances[9:]) == {UNKNOWN}
    assert distances_tried(tmp_path, "all") == {"cpu", "core", "llc", "node", "remote"}
    online, distances = json.loads((tmp_path / "offline.json").read_text())
    assert online == [cpu for cpu in range(9) if cpu != OFFLINE]
    assert distances[:9] == [*FROM_CPU_0[:OFFLINE], UNKNOWN, *FROM_CPU_0[OFFLINE + 1 :]]
    assert set(distances[9:]) == {UNKNOWN}
    assert distances_tried(tmp_path, "offline") == {"cpu", "core", "llc", "node", "remote"}


# Bugs: two CPUs needed where there is one; a share divided by nothing.
def test_one_cpu(tmp_path: Path) -> None:
    boot(tmp_path, SCRIPT.format(name="one", rung=RUNG, seconds=SECONDS), "1")
    online, distances = json.loads((tmp_path / "one.json").read_text())
    assert (online, distances) == ([0], [CPU, UNKNOWN])
    assert distances_tried(tmp_path, "one") == {"cpu"}
