"""Changes and the file that takes them back, on files in a directory."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from locality import cbpf
from locality.changes import undo_file
from locality.changes.kernel import FileChange, TableChange
from locality.changes.server import AffinityChange, GroupPlace, ProgramChange, SavedProgram
from locality.changes.system import KernelFiles, System
from locality.changes.undo import apply, undo
from locality.errors import LocalityError
from locality.reuseport.ebpf import EbpfProgram
from locality.reuseport.group import Group, Member
from locality.reuseport.survey import FoundGroup
from locality.steering import attachment
from tests.unit.spill.made_up import table

if TYPE_CHECKING:
    from locality.cbpf import Program
    from locality.changes.protocol import Change

MASK = "/sys/class/net/eth0/queues/rx-0/rps_cpus"
SYSCTL = "/proc/sys/net/core/skb_defer_max"
OTHER_SYSCTL = "/proc/sys/net/core/bpf_jit_harden"
IRQ = "/proc/irq/38/smp_affinity_list"
OUTSIDE = "/etc/passwd"
PROGRAM = {
    "netns": 1,
    "protocol": "tcp",
    "address": "127.0.0.1",
    "port": 0,
    "inodes": [1],
    "instructions": None,
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root directory with the files of a change, laid out as the kernel does."""
    top = tmp_path / "root"
    for path, content in (
        ("/sys/devices/virtio2/net/eth0/queues/rx-0/rps_cpus", "00\n"),
        ("/sys/devices/virtio2/net/eth0/ifindex", "2\n"),
        (SYSCTL, "0\n"),
        (OTHER_SYSCTL, "2\n"),
        (IRQ, "0-3\n"),
        ("/proc/irq/38/effective_affinity_list", "1\n"),
        ("/sys/kernel/irq/38/actions", "virtio2-input.0\n"),
        (OUTSIDE, "root\n"),
    ):
        place = top / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(content)
    (top / "sys/class/net").mkdir(parents=True)
    (top / "sys/class/net/eth0").symlink_to("../../devices/virtio2/net/eth0")
    return top


@pytest.fixture
def tables() -> dict[str, tuple[int, ...]]:
    return {"eth0": (0, 2, 0, 2)}


@pytest.fixture
def system(root: Path, tables: dict[str, tuple[int, ...]]) -> System:
    return System(KernelFiles(root), tables.__getitem__, tables.__setitem__, "boot-1", "net:[1]")


def content(root: Path, path: str) -> str:
    return (root / path.lstrip("/")).read_text()


def edited(file: Path, **changes: Any) -> None:  # noqa: ANN401 - JSON
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# Bug: a program that spills comes back as no program, or as one with another table.
def test_a_program_that_spills_is_in_the_file(tmp_path: Path, system: System) -> None:
    place = GroupPlace.from_json(PROGRAM)
    saved = SavedProgram(place, table(0, 4))
    file = tmp_path / "undo.json"
    undo_file.write(file, [saved], system)
    assert undo_file.read(file, system) == [saved]
    change = ProgramChange(place, saved.program, table(0, 4, bound=7))
    assert change.command.endswith("--port 0 --netns 1 --map auto --spill 7")
    assert change.undo_command.endswith("--map auto --spill 2 --force")
    edited(file, before=[{**saved.to_json(), "spill": {"bound": 2}}])
    (wrong,) = undo_file.read(file, system)
    assert isinstance(wrong, undo_file.WrongEntry)


# Bugs: what is put back is what the check had read and not what was there; not every byte; in the
# order in which it was changed, so that what came twice ends in between.
def test_apply_then_undo(
    root: Path, system: System, tables: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    changes: list[Change] = [
        FileChange(MASK, "0\n", "f"),
        FileChange(SYSCTL, "0\n", "64"),
        TableChange("eth0", (0, 2, 0, 2), 4),
        FileChange(MASK, "0\n", "3"),
    ]
    file = tmp_path / "undo.json"
    assert apply(changes, file, system) == []
    assert (content(root, MASK), content(root, SYSCTL)) == ("3", "64")
    assert tables["eth0"] == (0, 1, 2, 3)
    assert file.stat().st_mode & 0o777 == 0o600
    edited(file)  # any JSON of the same content will do
    assert undo(file, system) == (3, [])
    assert (content(root, MASK), content(root, SYSCTL)) == ("00\n", "0\n")
    assert tables["eth0"] == (0, 2, 0, 2)


# Bug: the undo file is written after the changes: a crash between them leaves none.
def test_the_undo_file_comes_first(system: System, tmp_path: Path) -> None:
    file = tmp_path / "undo.json"
    seen: list[bool] = []

    def crash(_device: str, _table: tuple[int, ...]) -> None:
        seen.append("locality_undo" in json.loads(file.read_text()))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply([TableChange("eth0", (0, 2, 0, 2), 4)], file, replace(system, write_table=crash))
    assert seen == [True]


# Bugs: an undo file of an earlier fix is overwritten; a symbolic link is followed; something is
# changed though the way back could not be written; a user of a read-only file system, as containers
# have it, is not told which option helps.
def test_an_existing_undo_file_is_left_alone(root: Path, system: System, tmp_path: Path) -> None:
    file = tmp_path / "undo.json"
    file.write_text("precious")
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "elsewhere.json")
    for target in (file, link, tmp_path / "missing/undo.json"):
        said = r"nothing changed: cannot write the undo file .*; choose another place with --undo"
        with pytest.raises(LocalityError, match=said):
            apply([FileChange(SYSCTL, "0\n", "64")], target, system)
        with pytest.raises(LocalityError, match=said):
            undo_file.require_place(target)
    assert file.read_text() == "precious"
    assert not (tmp_path / "elsewhere.json").exists()
    assert content(root, SYSCTL) == "0\n"


# Bug: a disk that is full leaves half an undo file, which keeps the command from being run again.
def test_nothing_is_left_of_an_undo_file_that_cannot_be_written(
    root: Path, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LocalityError, match=r"nothing changed: .*No space left"):
        apply([FileChange(SYSCTL, "0\n", "64")], tmp_path / "undo.json", system)
    assert not (tmp_path / "undo.json").exists()
    assert content(root, SYSCTL) == "0\n"


# Bug: to look whether an undo file can be written leaves a file there, which is then in the way.
def test_the_place_of_an_undo_file_is_looked_at(tmp_path: Path) -> None:
    undo_file.require_place(tmp_path / "undo.json")
    assert not [*tmp_path.iterdir()]


# Bugs: an undo file is a way to write any file as root: by its path, by .., by a link; or any
# sysctl of net.core, of which some have to do with security.
@pytest.mark.parametrize(
    "path",
    [
        OUTSIDE,
        "/proc/sys/net/core/../../../../etc/passwd",
        "/sys/class/net/../../../etc/queues/rx-0/rps_cpus",
        "/sys/class/net/eth0/queues/rx-0/../../../../../../etc/passwd",
        "/proc/sys/kernel/core_pattern",
        OTHER_SYSCTL,
        "/proc/irq/38/smp_affinity_list\n/etc/passwd",
        "/sys/class/net/evil/queues/rx-0/rps_cpus",
        "proc/sys/net/core/skb_defer_max",
        f"{MASK}/../../../ifindex",
    ],
)
def test_only_files_of_a_change_are_written(
    path: str, root: Path, system: System, tmp_path: Path
) -> None:
    (root / "evil/queues/rx-0").mkdir(parents=True)
    (root / "evil/queues/rx-0/rps_cpus").symlink_to(root / "etc/passwd")
    (root / "sys/class/net/evil").symlink_to(root / "evil")
    file = tmp_path / "undo.json"
    apply([FileChange(SYSCTL, "0\n", "64")], file, system)
    owner = system.files.owner(path)
    entry = {"path": path, "content": "hacked", "owner": owner, "arrived_on": None}
    edited(file, before=[entry])
    done, failed = undo(file, system)
    assert done == 0
    assert len(failed) == 1
    assert content(root, OUTSIDE) == "root\n"
    assert content(root, OTHER_SYSCTL) == "2\n"
    assert content(root, "/sys/class/net/eth0/ifindex") == "2\n"
    assert content(root, "/evil/queues/rx-0/rps_cpus") == "root\n"


# Bugs: restored on another boot, where numbers and names mean other things; in another namespace;
# a file that is no undo file, or is of another version, ends in a traceback.
def test_undo_files_that_do_not_fit(system: System, tmp_path: Path) -> None:
    file = tmp_path / "undo.json"
    apply([FileChange(SYSCTL, "0\n", "64")], file, system)
    for other, message in (
        (replace(system, boot="boot-2"), "last reboot"),
        (replace(system, netns="net:[2]"), "network namespace"),
    ):
        with pytest.raises(LocalityError, match=message):
            undo(file, other)
    good = json.loads(file.read_text())
    for text, message in (
        ("", "no undo file"),
        ("[1]", "no undo file"),
        ("{}", "no undo file"),
        ('{"locality_undo": 1, "boot": "boot-1", "netns": "net:[1]", "before": 3}', "no undo"),
        (json.dumps({**good, "locality_undo": 2}), "version 2"),
        (json.dumps({**good, "before": {}}), "no undo file"),
        ("[" * 100_000, "no undo file"),
        (json.dumps({**good, "x": "x" * undo_file.LARGEST}), "too large"),
    ):
        file.write_text(text)
        with pytest.raises(LocalityError, match=message):
            undo(file, system)
    with pytest.raises(LocalityError, match="No such file"):
        undo(tmp_path / "missing", system)


SAVED_TABLE = {"device": "eth0", "table": [0], "owner": "2"}
SAVED_FILE = {"path": SYSCTL, "content": "1\n", "owner": "", "arrived_on": None}
SAVED_CPUS = {"tid": 1, "started": 1, "cpus": [0]}


# Bug: one wrong entry, whatever is wrong with it, and nothing is put back, or only what stands
# behind it; or nobody says which entry it is.
@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (3, "entry 2: it is no object"),
        ([], "entry 2: it is no object"),
        ({}, "entry 2: no known kind"),
        ({"colour": "red"}, "entry 2: no known kind"),
        ({"device": "eth0"}, "entry 2 (device eth0): it has no table"),
        ({"device": 3, "table": []}, "entry 2 (device 3): it has a wrong value: 3"),
        ({**SAVED_TABLE, "table": ["0"]}, "wrong value: 0"),
        ({**SAVED_TABLE, "table": [0.5]}, "wrong value: 0.5"),
        ({**SAVED_TABLE, "table": [1 << 16]}, "wrong value: 65536"),
        ({**SAVED_TABLE, "table": None}, "wrong value"),
        (
            {**SAVED_TABLE, "device": "gone0"},
            "gone0: the device of this name had the number 2, and has none",
        ),
        ({"device": "eth0", "table": [0]}, "entry 2 (device eth0): it has no owner"),
        ({**SAVED_FILE, "content": 3}, f"entry 2 (path {SYSCTL}): it has a wrong value: 3"),
        ({**SAVED_FILE, "content": "\u20ac"}, f"{SYSCTL}: UnicodeEncodeError"),
        ({**SAVED_FILE, "path": "\x1b[31m"}, "\\x1b[31m"),
        ({**SAVED_FILE, "path": "/proc/sys/net/core/rps_sock_flow_entries"}, "No such file"),
        ({**SAVED_FILE, "path": OUTSIDE}, "not changed"),
        ({**SAVED_FILE, "owner": "another"}, "not changed"),
        ({"path": SYSCTL}, f"entry 2 (path {SYSCTL}): it has no content"),
        ({**SAVED_CPUS, "cpus": [-1]}, "entry 2 (tid 1): it has a wrong value: -1"),
        ({**SAVED_CPUS, "cpus": [1 << 40]}, "entry 2 (tid 1): it has a wrong value"),
        ({**SAVED_CPUS, "tid": "1"}, "it has a wrong value: 1"),
        ({**SAVED_CPUS, "tid": 1 << 40}, "has ended"),
        ({**PROGRAM, "instructions": "06"}, "entry 2 (instructions 06): it cannot be read"),
        ({**PROGRAM, "instructions": "x" * 100_000}, "more ..."),
        ({**PROGRAM, "inodes": ["1"]}, "entry 2 (instructions None): it has a wrong value: 1"),
        (PROGRAM, "the group has gone"),
    ],
)
def test_a_wrong_entry_keeps_no_other_back(
    entry: object, said: str, root: Path, system: System, tmp_path: Path
) -> None:
    file = tmp_path / "undo.json"
    apply([FileChange(MASK, "0\n", "f"), FileChange(IRQ, "0-3\n", "2")], file, system)
    first, last = json.loads(file.read_text())["before"]
    edited(file, before=[first, entry, last])
    (root / SYSCTL.lstrip("/")).write_text("64")
    done, (failure,) = undo(file, system)
    assert done == 2
    assert said in failure
    assert failure.isprintable()
    assert len(failure) < 1000
    assert (content(root, MASK), content(root, IRQ)) == ("00\n", "0-3\n")


# Bug: as above, where the kernel refuses the value of one.
def test_a_refused_value_keeps_no_other_back(
    root: Path, system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "undo.json"
    changes = [FileChange(path, "", "1") for path in (MASK, SYSCTL, IRQ)]
    apply(changes, file, system)
    write = KernelFiles.write

    def refuse(files: KernelFiles, path: str, text: str) -> None:
        if path == SYSCTL:
            raise OSError(22, "Invalid argument")
        write(files, path, text)

    monkeypatch.setattr(KernelFiles, "write", refuse)
    assert undo(file, system) == (2, [f"{SYSCTL}: Invalid argument"])
    assert (content(root, MASK), content(root, IRQ)) == ("00\n", "0-3\n")


# Bug: an interrupt number, or a device's name, belongs to something else by now.
def test_what_belongs_to_another_thing_now_is_left_alone(
    root: Path, system: System, tables: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    file = tmp_path / "undo.json"
    changes: list[Change] = [
        FileChange(MASK, "00\n", "f0"),
        FileChange(IRQ, "0-3\n", "2"),
        TableChange("eth0", (0, 2, 0, 2), 4),
    ]
    apply(changes, file, system)
    (root / "sys/kernel/irq/38/actions").write_text("nvme0q1\n")
    (root / "sys/devices/virtio2/net/eth0/ifindex").write_text("7\n")
    done, failed = undo(file, system)
    assert done == 0
    assert ["not changed" in line for line in failed] == [True, True, True]
    assert content(root, MASK) == "f0"
    assert tables["eth0"] == (0, 1, 2, 3)


# Bug: a wide mask is put back at once, and the interrupt stays where the change had put it.
def test_an_interrupt_goes_back_to_its_cpu_first(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "undo.json"
    apply([FileChange(IRQ, "0-3\n", "2")], file, system)
    writes: list[tuple[str, str]] = []
    write = KernelFiles.write

    def watched(files: KernelFiles, path: str, text: str) -> None:
        writes.append((path, text))
        write(files, path, text)

    monkeypatch.setattr(KernelFiles, "write", watched)
    assert undo(file, system) == (1, [])
    assert writes == [(IRQ, "1"), (IRQ, "0-3\n")]


# Bug: one refused change hides the others, or is not told.
def test_a_refused_change_is_told(root: Path, system: System, tmp_path: Path) -> None:
    def refuse(_device: str, _table: tuple[int, ...]) -> None:
        raise OSError(22, "Invalid argument")

    changes: list[Change] = [TableChange("eth0", (0, 2, 0, 2), 4), FileChange(SYSCTL, "0\n", "64")]
    failed = apply(changes, tmp_path / "undo.json", replace(system, write_table=refuse))
    assert failed == ["ethtool -X eth0 equal 4: Invalid argument"]
    assert content(root, SYSCTL) == "64"


# Bugs: a thread keeps the CPUs it was given; another one that has its number by now gets them.
def test_the_cpus_of_a_thread_are_put_back_to_that_thread_alone(
    system: System, tmp_path: Path
) -> None:
    cpus = os.sched_getaffinity(0)
    one = frozenset({min(cpus)})
    file, other = tmp_path / "undo.json", tmp_path / "other.json"
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            assert apply([AffinityChange(process.pid, frozenset(cpus), one)], file, system) == []
            assert os.sched_getaffinity(process.pid) == one
            entry = json.loads(file.read_text())["before"][0]
            other.write_text(file.read_text())
            edited(other, before=[{**entry, "started": entry["started"] + 1}])
            done, failed = undo(other, system)
            assert (done, "has ended" in failed[0]) == (0, True)
            assert os.sched_getaffinity(process.pid) == one
            assert undo(file, system) == (1, [])
            assert os.sched_getaffinity(process.pid) == cpus
            assert undo(file, system) == (0, [])
        finally:
            process.kill()
    done, failed = undo(file, system)
    assert (done, "has ended" in failed[0]) == (0, True)


# Bug: the group on that port is another server's by now, and is changed.
def test_a_program_is_for_the_group_it_was_made_for(system: System, tmp_path: Path) -> None:
    gone = GroupPlace(1, "tcp", "127.0.0.1", 0, (1,))
    with pytest.raises(LocalityError, match="the group has gone"):
        apply([ProgramChange(gone, None, cbpf.cpu(2))], tmp_path / "undo.json", system)
    assert not (tmp_path / "undo.json").exists()
    (tmp_path / "undo.json").write_text(
        json.dumps({"locality_undo": 1, "boot": "boot-1", "netns": "net:[1]", "before": [PROGRAM]})
    )
    done, failed = undo(tmp_path / "undo.json", system)
    assert (done, "the group has gone" in failed[0]) == (0, True)


# Bug: the command that reverts what was changed does something else: the file's name has blanks.
def test_the_command_that_reverts() -> None:
    name = "my changes; reboot"
    assert shlex.split(undo_file.undo_command(Path(name))) == ["locality", "undo", name]


# Bug: what is to be pasted into a shell runs a part of a device's name, which may hold all but
# blanks and slashes.
def test_a_command_for_a_shell_has_one_word_for_a_name() -> None:
    name = "eth0;reboot"
    mask = FileChange(f"/sys/class/net/{name}/queues/rx-0/rps_cpus", "0\n", "3")
    rss = TableChange(name, (0, 0), 2)
    for command in (mask.command, mask.undo_command, rss.command, rss.undo_command):
        assert any(name in word for word in shlex.split(command, comments=True))
    assert FileChange(MASK, "0\n", "3").command == f"echo 3 > {MASK}"


# Bug: a program that spills counts as put back, though some sockets are not in its table.
def test_a_program_that_came_back_in_part_is_told(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = Group((Member(1), Member(2)), True, False, None, "read from the kernel")
    found = FoundGroup("tcp", "127.0.0.1", 80, 1, 7, 3, group)
    monkeypatch.setattr(GroupPlace, "look", lambda _place: found)
    monkeypatch.setattr(attachment, "attach", lambda *_given: {2: "socket 2 is in another map"})
    saved = SavedProgram(GroupPlace.of(found), table(0, 4))
    with pytest.raises(LocalityError, match="hash selects 1 of 2 sockets: socket 2 is in another"):
        saved.restore(system)


def with_program(
    program: Program | None, ebpf: EbpfProgram | None = None, *, attached: bool | None = True
) -> FoundGroup:
    group = Group((Member(1), Member(2)), True, attached, program, "read from the kernel", ebpf)
    return FoundGroup("tcp", "127.0.0.1", 80, 1, 7, 3, group)


# Bugs: a program that somebody else attached after ours is detached or replaced; nobody is told;
# what is already as it was, or was taken away, is called somebody else's.
@pytest.mark.parametrize("before", [None, cbpf.cpu(2)])
@pytest.mark.parametrize(
    ("present", "stays"),
    [
        (with_program(cbpf.queue(2)), ""),
        (with_program(None, EbpfProgram(9, "theirs")), " --force"),
        (with_program(cbpf.random(2)), None),
        (with_program(cbpf.cpu(2)), None),
        (with_program(None, attached=False), None),
    ],
)
def test_what_somebody_else_attached_stays(
    before: Program | None,
    *,
    present: FoundGroup,
    stays: str | None,
    system: System,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if before is None and present.group.program == cbpf.cpu(2):
        stays = ""  # it is what was there before only in the other case
    did: list[object] = []

    def attach(_pid: int, _fd: int, program: Program, _among: object) -> dict[int, str]:
        did.append(program)
        return {}

    monkeypatch.setattr(GroupPlace, "look", lambda _place: present)
    monkeypatch.setattr(attachment, "attach", attach)
    monkeypatch.setattr(attachment, "detach", lambda *_given: did.append(None))
    file, left = tmp_path / "undo.json", list[str]()
    undo_file.write(file, [SavedProgram(GroupPlace.of(present), before, cbpf.random(2))], system)
    done, failed = undo(file, system, left)
    if stays is None:
        changes = before is not None if not present.group.attached else True
        changes = changes and present.group.program != before
        assert (did, failed, left) == ([before] if changes else [], [], [])
        assert done == changes
        return
    assert (done, did) == (0, [])
    # Nothing of ours is left, or the earlier program is still to be put back.
    (line,), others = (left, failed) if before is None else (failed, left)
    assert not others
    assert line.endswith(f"locality attach-cbpf --port 80 --netns 1 --proto tcp --detach{stays}")
    assert attachment.describe_present(present.group) in line
    # Who knows no difference counts it as what could not be put back.
    assert undo(file, system) == (0, [line])


# Bug: a program is left behind because it could not be told whose it is: a file of an earlier
# version does not say what was attached.
def test_what_cannot_be_told_apart_is_put_back(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present, did = with_program(cbpf.queue(2)), list[object]()
    monkeypatch.setattr(GroupPlace, "look", lambda _place: present)
    monkeypatch.setattr(attachment, "detach", lambda *_given: did.append(None))
    saved = SavedProgram(GroupPlace.of(present), None).to_json()
    del saved["given"]
    document = {"locality_undo": 1, "boot": "boot-1", "netns": "net:[1]", "before": [saved]}
    (tmp_path / "undo.json").write_text(json.dumps(document))
    assert undo(tmp_path / "undo.json", system) == (1, [])
    assert did == [None]
