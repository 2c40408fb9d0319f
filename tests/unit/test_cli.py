"""The command line where no probe is attached: usage, errors, exit codes, what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from locality.cli import COMMANDS, cli, main
from locality.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    #: Runs a command line that is refused, from words or from a text with blanks between them.
    Refuse = Callable[[str | list[str]], tuple[object, str]]

NOBODY = 999_999_999  # above the kernel's PID_MAX_LIMIT of 2^22
PATIENCE = 60
OURSELVES = str(os.getpid())
LOCALITY = [sys.executable, "-m", "locality"]

# Run a command without privileges. The user stays, so that files stay readable; what counts is
# that its capabilities are gone: prctl(PR_CAPBSET_DROP), then exec.
WITHOUT_CAPABILITIES = """
import ctypes, os, sys
for capability in range(64):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, "-m", "locality", *sys.argv[1:]])
"""


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users run it: an unbuffered standard output has nothing left to flush at exit."""
    for name in ("LOCALITY_RUNG", "PYTHONUNBUFFERED"):
        monkeypatch.delenv(name, raising=False)


def run(command: list[str], stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )


def unprivileged(*arguments: str) -> tuple[int, str]:
    """The exit code and the only line on standard error."""
    done = run([sys.executable, "-c", WITHOUT_CAPABILITIES, *arguments])
    (line,) = done.stderr.splitlines()
    return done.returncode, line


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """Run a command line that must end before it does anything.

    Gives the exit code and the only line on standard error; there is nothing on standard output.
    """

    def run_here(arguments: str | list[str]) -> tuple[object, str]:
        words = arguments.split() if isinstance(arguments, str) else arguments
        monkeypatch.setattr(sys, "argv", ["locality", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        assert out == ""
        (line,) = err.splitlines()
        assert line.startswith("locality: ")
        return ended.value.code, line

    return run_here


# Bugs: a number that makes no sense is taken (a group of 0 divides by zero in the kernel's
# program, an interval of -1 never sleeps, one of nan is never over); options that contradict
# each other are half obeyed; a traceback, or three lines of usage, instead of one line that
# names the mistake.
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("nosuch", "nosuch"),
        ("--nosuch", "--nosuch"),
        ("accept --nosuch", "--nosuch"),
        ("accept extra", "extra"),
        ("accept --pid 0", "--pid"),
        ("accept --pid nginx", "--pid"),
        ("accept --port 65536", "--port"),
        ("accept --cpu -1", "--cpu"),
        ("accept --family 5", "--family"),
        ("accept --count 0", "--count"),
        ("accept --duration 0", "--duration"),
        ("accept --duration -1", "--duration"),
        ("accept --ring 0", "--ring"),
        ("accept --format xml", "--format"),
        ("accept --ready-file /", "--ready-file"),
        ("accept --rung nosuch", "kprobe, fentry, tracepoint, raw-tracepoint"),
        ("skb --rung nosuch", "fentry, kprobe, raw-tracepoint"),
        ("skb --interval -1", "--interval"),
        ("skb --interval 0", "--interval"),
        ("skb --interval nan", "--interval"),
        ("skb --interval 1e-9", "--interval"),
        ("accept --duration nan", "--duration"),
        ("accept --duration inf", "--duration"),
        ("accept --cpu 99999999999", "--cpu"),
        ("accept --comm=", "--comm"),
        ("skb --count 0", "--count"),
        ("skb --matrix --format classic", "--matrix"),
        ("skb --matrix --csv", "--matrix"),
        ("accept --live", "--format text, classic, json or csv"),
        ("skb --live", "--format text, classic, json or csv"),
        ("replay nothing --live", "--format text, classic, json or csv"),
        ("accept --live --json", "--live"),
        ("skb --live --csv", "--live"),
        ("accept --no-output", "--record"),
        ("accept --no-output --record x --live", "--live"),
        ("accept --summary --live", "--live"),
        ("accept --summary --csv", "--format csv"),
        ("connections --no-output --record x --json", "--format json"),
        ("accept --svg picture.svg", "--svg"),
        ("skb --svg picture.svg", "--svg"),
        ("replay nothing --svg picture.svg", "--svg"),
        ("replay nothing --matrix --csv", "--matrix"),
        ("replay nothing --speed -1", "--speed"),
        ("replay nothing --speed nan", "--speed"),
        ("replay nothing --speed inf", "--speed"),
        ("replay nothing --speed 1e-9", "--speed"),
        ("report nothing", "--output"),
        ("report -o page.html", "RECORDING"),
        ("export nothing page.xls", ".parquet"),
        ("demo --workers 1", "--workers"),
        ("demo --seconds 0", "--seconds"),
        ("udp --port 65536", "--port"),
        ("udp --sample 0", "--sample"),
        ("udp --comm=", "--comm"),
        ("udp --format classic", "text"),
        ("udp --live", "--format text, json or csv"),
        ("udp --live --json", "--live"),
        ("udp --svg picture.svg", "--svg"),
        ("udp --rung nosuch", "fentry, kprobe, raw-tracepoint"),
        ("groups --port 65536", "--port"),
        ("groups --pid 0", "--pid"),
        ("groups --comm=", "--comm"),
        ("groups --format csv", "--format"),
        ("attach-cbpf --pid 1", "--fd"),
        ("attach-cbpf --fd 3", "--pid"),
        ("attach-cbpf --pid 1 --fd 3", "--group"),
        ("attach-cbpf --pid 1 --fd 3", "--map"),
        ("attach-cbpf --pid 1 --fd 3 --group 0", "not 0"),
        ("attach-cbpf --pid 1 --fd 3 --group -2", "not -2"),
        ("attach-cbpf --pid 1 --fd 3 --group 2 --program nosuch", "--program"),
        ("attach-cbpf --pid 1 --fd 3 --group 2 --detach", "--detach"),
        ("attach-cbpf --pid 1 --fd 3 --map 0:1 --detach", "--detach"),
        ("attach-cbpf --pid 1 --fd 3 --dry-run --detach", "--detach"),
        ("attach-cbpf --pid 1 --fd 3 --map 0:1 --program cpu", "--program"),
        ("attach-cbpf --pid 1 --fd 3 --map 0=1", "0=1"),
        ("attach-cbpf --pid 1 --fd 3 --group 2 --mask 1", "--program payload"),
        ("attach-cbpf --pid 1 --fd 3 --group 2 --program payload --value 1", "--payload-offset"),
        ("attach-cbpf --port 1 --program payload --payload-offset 1 --value 256", "no byte"),
        ("attach-cbpf --port 1 --program payload --payload-offset 1 --value x", "no byte"),
        ("attach-cbpf --port 1 --program payload --payload-offset 1 --value 2 --mask 1", "0x1"),
        ("attach-cbpf --port 1 --program payload --payload-offset -1 --value 2", "-1"),
        ("spread", "--dev"),
        ("spread --dev lo", "--port"),
        ("spread --dev lo --port 0", "--port"),
        ("spread --dev lo --port 65536", "--port"),
        ("spread --dev lo --port 1 --mode fast", "--mode"),
        ("spread --dev lo --port 1 --interval 0", "--interval"),
        ("spread --dev lo --port 1 --format csv", "--format"),
        ("attach-cbpf --map auto", "--port"),
        ("attach-cbpf --port 80 --fd 3", "--fd"),
        ("attach-cbpf --pid 1 --fd 3 --comm nginx --group 2", "--comm"),
        ("attach-cbpf --pid 1 --fd 3 --group 2 --follow", "--follow"),
        ("attach-cbpf --port 80 --pid 1 --follow", "--follow"),
        ("attach-cbpf --port 80 --detach-on-exit", "--detach-on-exit"),
        ("attach-cbpf --port 80 --with incoming-cpu --map auto", "incoming-cpu"),
        ("attach-cbpf --port 80 --map auto --group 2", "--group"),
        ("attach-cbpf --port 80 --map 0:1 --rx-cpus 0", "--rx-cpus"),
        ("attach-cbpf --port 80 --map auto --rx-cpus x", "x"),
        ("attach-cbpf --port 80 --map auto --rx-cpus 8000", "online"),
        ("attach-cbpf --port 80 --map auto --rx-cpus 0-99999999999", "0 to 8191"),
        ("attach-cbpf --port 80 --map auto --rx-cpus 3-0", "'3-0'"),
        ("attach-cbpf --port 80 --verify nan", "nan"),
    ],
)
def test_usage_errors(refused: Refuse, arguments: str, named: str) -> None:
    code, line = refused(arguments)
    assert code == 2
    assert named in line


# Bug: who calls the program for the first time is not told where to begin, and what comes next.
def test_the_help_shows_the_way() -> None:
    text = " ".join(run(LOCALITY).stdout.split())
    places = [text.index(f" {word}") for word in ("top:", "explain says", "attach-cbpf", "report")]
    assert places == sorted(places)


# Bug: what int() reads and nobody means (digits of other scripts, 1_0, +5, blanks) chooses a CPU,
# a port or a process.
@pytest.mark.parametrize("number", ["\u0663", "1_0", "+5", "\u00a05", "5\u2009"])
@pytest.mark.parametrize(
    "arguments",
    [
        *("accept --port", "accept --pid", "accept --cpu", "accept --count", "accept --ring"),
        *("accept --duration", "skb --interval", "udp --sample", "replay x --speed"),
        *("groups --look", "explain --port", "spread --dev lo --port", "demo --workers"),
        *("attach-cbpf --fd 3 --group 2 --pid", "attach-cbpf --pid 1 --group 2 --fd"),
        *("attach-cbpf --pid 1 --fd 3 --group", "attach-cbpf --pid 1 --fd 3 --map"),
        "attach-cbpf --port 1 --map auto --rx-cpus",
        "attach-cbpf --port 1 --program payload --payload-offset 1 --value",
    ],
)
def test_numbers_are_ascii_digits(refused: Refuse, arguments: str, number: str) -> None:
    words = arguments.split()
    text = f"0:{number}" if words[-1] == "--map" else number
    code, line = refused([*words, text])
    assert code == 2
    assert printable(text).removeprefix("\\") in line


# Bug: an argument of 100 kB fills the screen, or the log, with itself.
@pytest.mark.parametrize(
    "arguments",
    [
        *("{}", "accept --{}", "accept --port {}", "accept --comm {}", "accept --rung {}"),
        *("info {}", "undo {}", "doctor --dev {}", "explain --undo {}"),
        "attach-cbpf --port 80 --map auto --rx-cpus {}",
    ],
)
@pytest.mark.parametrize("letter", ["a", "\x1b[31m", "a "])
def test_long_arguments_are_cut(refused: Refuse, arguments: str, letter: str) -> None:
    long = letter * (100_000 // len(letter))
    code, line = refused([word.format(long) for word in arguments.split()])
    assert code in {1, 2}
    assert len(line) < 2500
    assert line.isprintable()


# Bug: the environment's rung is taken without being checked, or not at all.
def test_the_environment_chooses_the_rung(refused: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALITY_RUNG", "ladder")
    code, line = refused("accept")
    assert code == 2
    assert "'ladder'" in line


# Bug: a name of bytes that are no UTF-8, which Python hands over as surrogates, ends in a
# traceback before the kernel is even asked.
def test_a_name_of_any_bytes() -> None:
    code, line = unprivileged("accept", "--comm", os.fsdecode(b"a\xffb"))
    assert code == 1
    assert "CAP_BPF" in line


# Bug: a recording that is not there, or is none, ends in a traceback.
@pytest.mark.parametrize(
    "arguments", ["info {}", "export {} out.csv", "replay {}", "report {} -o page.html"]
)
def test_what_is_no_recording(refused: Refuse, tmp_path: Path, arguments: str) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("not a recording\n" * 100)
    code, line = refused(arguments.format(other))
    assert code == 1
    assert "no recording" in line
    code, line = refused(arguments.format(tmp_path / "nothing"))
    assert code == 1
    assert "No such file" in line


# --- processes and sockets that are not what was meant ----------------------------------


@pytest.fixture
def thread() -> Iterator[str]:
    """The number of a thread of this process that is not its main one."""
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    yield str(thread.native_id)
    over.set()
    thread.join()


# Bug: the command waits for a process that does not exist, or blames something else.
@pytest.mark.parametrize(
    "arguments", [f"accept --pid 1 --pid {NOBODY}", f"attach-cbpf --pid {NOBODY} --fd 3 --group 2"]
)
def test_an_unknown_pid(refused: Refuse, arguments: str) -> None:
    code, line = refused(arguments)
    assert code == 1
    assert str(NOBODY) in line


# Bug: a thread's number, as ps -L shows it, is taken for a process and nothing is ever seen.
@pytest.mark.parametrize(
    "arguments", ["accept --pid {}", "udp --pid {}", "attach-cbpf --fd 3 --group 2 --pid {}"]
)
def test_the_pid_of_a_thread(refused: Refuse, thread: str, arguments: str) -> None:
    code, line = refused(arguments.format(thread))
    assert code == 1
    assert "thread" in line


# Bug: a file's number is handed to the kernel and the errno is all the user gets.
@pytest.mark.parametrize("extra", ["--group 2", "--map 0:0,1:1", "--group 2 --dry-run", "--detach"])
def test_an_fd_that_is_no_socket(refused: Refuse, tmp_path: Path, extra: str) -> None:
    with (tmp_path / "file").open("w") as file:
        code, line = refused(f"attach-cbpf --pid {OURSELVES} --fd {file.fileno()} {extra}")
        assert code == 1
        assert "ENOTSOCK" in line
        assert f"/proc/{OURSELVES}/fd" in line


# Bug: the errno alone is shown.
def test_an_fd_that_is_not_open(refused: Refuse) -> None:
    code, line = refused(f"attach-cbpf --pid {OURSELVES} --fd 99999 --group 2")
    assert code == 1
    assert "EBADF" in line


# Bug: "Operation not permitted", and the user is left to find out which permission.
@pytest.mark.parametrize(
    ("arguments", "capability"),
    [
        ("accept", "CAP_BPF"),
        ("skb", "CAP_BPF"),
        ("spread --dev lo --port 1", "CAP_BPF"),
        ("attach-cbpf --pid 1 --fd 0 --group 2", "CAP_SYS_PTRACE"),
    ],
)
def test_missing_privileges_are_named(arguments: str, capability: str) -> None:
    code, line = unprivileged(*arguments.split())
    assert code == 1
    assert capability in line


# Bug: without privileges, where the table is needed most, it is an error instead of a table.
def test_check_tells_what_is_missing() -> None:
    done = run([sys.executable, "-c", WITHOUT_CAPABILITIES, "check"])
    assert done.returncode == 1
    assert done.stderr == ""
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["CAP_BPF", "missing"] in [row[:2] for row in rows]
    assert {"accept", "skb"} <= {row[0] for row in rows if row}
    assert not any(row[2:] in (["used"], ["usable"]) for row in rows)


# --- standard output that does not take it ----------------------------------------------


# Bug: `locality ... | head` ends with a traceback, or as an error (a shell with pipefail stops).
@pytest.mark.parametrize("arguments", ["--help", "check --json"])
def test_a_closed_pipe(arguments: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = run([*LOCALITY, *arguments.split()], stdout=writer)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


# Bug: a full disk gives a traceback, Python's own words at exit, or exit code 0.
def test_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = run([*LOCALITY, "--help"], stdout=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "locality: standard output: No space left on device\n"


# Bug: started with standard output closed, as some supervisors do, Python has none at all.
@pytest.mark.parametrize("arguments", [["--help"], ["check", "--json"]])
def test_no_standard_output(arguments: list[str]) -> None:
    done = run(["sh", "-c", 'exec "$@" >&-', "sh", *LOCALITY, *arguments])
    assert done.returncode in {0, 1}
    assert len(done.stderr.splitlines()) <= 1


# Bugs: of a process that ended meanwhile it is said that /proc may not be mounted, or that standard
# output failed.
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "open('/proc/9999999/ns/net')",
            "cannot read /proc/9999999/ns/net: No such file or directory",
        ),
        ("os.sched_getaffinity(9999999)", "a system call was refused: No such process"),
    ],
)
def test_a_process_that_has_ended(asked: str, said: str) -> None:
    script = f"""
import os, sys
from locality.cli import cli, main
@cli.command("look")
def look():
    {asked}
sys.argv = ["locality", "look"]
main()
"""
    done = run([sys.executable, "-c", script])
    assert (done.returncode, done.stderr) == (1, f"locality: {said}\n")


# --- help and start ---------------------------------------------------------------------


# Bug: without a command the help is squeezed into one line, as errors are.
def test_no_command_shows_the_help() -> None:
    bare, asked = run(LOCALITY), run([*LOCALITY, "--help"])
    assert asked.returncode == 0
    assert asked.stdout.strip() in bare.stdout + bare.stderr


# Bug: an import at the top of cli.py makes every --help and every tab completion slow.
def test_help_imports_nothing_slow() -> None:
    script = """
import sys
from locality.cli import main
commands = "accept skb attach-cbpf check demo info export replay report"
for command in ["", *commands.split()]:
    sys.argv = ["locality", *command.split(), "--help"]
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0, command
print("SLOW", *{"numpy", "rich", "pandas", "pyarrow", "matplotlib"} & set(sys.modules))
"""
    done = run([sys.executable, "-c", script])
    assert done.stderr == ""
    assert done.stdout.count("Usage: ") == 10
    assert done.stdout.splitlines()[-1] == "SLOW"


# Bugs: --help imports every command to name it; what it says of a command is not what that says.
def test_the_list_of_commands_says_what_commands_say() -> None:
    script = """
import sys
from locality.cli import main
sys.argv = ["locality", "--help"]
try:
    main()
except SystemExit:
    pass
print(*(name for name in sys.modules if name.startswith("locality.commands.")), file=sys.stderr)
"""
    done = run([sys.executable, "-c", script])
    needless = {f"locality.commands.{lazy.module}" for lazy in COMMANDS.values()}
    assert not needless & {*done.stderr.split()}
    context = click.Context(cli)
    for name, lazy in COMMANDS.items():
        command = cli.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=200) == lazy.help


# Bugs: measuring pays for the options of every other command; numpy.ma comes with the topology.
def test_measuring_imports_no_other_command() -> None:
    script = """
import sys
from locality.machine import topology
from locality.cli import main
topology.read()
sys.argv = ["locality", "accept", "--help"]
try:
    main()
except SystemExit as ended:
    assert ended.code == 0
commands = {f"locality.commands.{name}" for name in "attach demo doctor explain lab udp".split()}
print("NEEDLESS", *({"numpy.ma", *commands} & set(sys.modules)))
"""
    done = run([sys.executable, "-c", script])
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "NEEDLESS"


# Bug: a name from outside reaches the terminal as it is.
def test_an_unknown_interface_is_quoted(refused: Refuse) -> None:
    code, line = refused("spread --port 1 --dev \x1b[31m")
    assert code == 1
    assert "no interface" in line
    assert "\x1b" not in line


# Bugs: a variable is named by what an option is called in Python; several ports are taken for one;
# a wrong value is passed over.
def test_options_come_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, refused: Refuse
) -> None:
    monkeypatch.setenv("LOCALITY_ATTACH_CBPF_RX_CPUS", "none")
    monkeypatch.setenv("LOCALITY_ACCEPT_PORT", "80 seven")
    assert "'none' is no list of CPUs" in refused("attach-cbpf --port 80 --dry-run")[1]
    assert "'seven' is no whole number" in refused("accept")[1]


# Bug: who mistypes a command learns neither what it is called nor where all are listed.
@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (
            "accpt",
            "locality: No such command 'accpt': did you mean accept? 'locality --help' lists all.",
        ),
        ("xyzzy", "locality: No such command 'xyzzy'. 'locality --help' lists all."),
        (
            "lab udq",
            "locality: No such command 'udq': did you mean udp? 'locality lab --help' lists all.",
        ),
    ],
)
def test_a_mistyped_command(typed: str, line: str, refused: Refuse) -> None:
    assert refused(typed) == (2, line)


# Bug: the error names an option or a file that is missing, and not what to write there.
@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("report a.arrows", "locality report before.arrows after.arrows -o report.html"),
        ("undo", "ls -t locality-undo-*.json"),
    ],
)
def test_a_file_that_is_missing(typed: str, told: str, refused: Refuse) -> None:
    code, line = refused(typed)
    assert (code, line.startswith("locality: Missing "), line.endswith(told)) == (2, True, True)


# Bug: of two formats the last one is taken in silence, and a script reads the other one.
@pytest.mark.parametrize(
    "typed",
    [
        "accept --json --csv",
        "accept --csv --format json",
        "udp --format text --json",
        "doctor --format text --json",
        "fleet /nowhere --format html --json",
    ],
)
def test_two_formats(typed: str, refused: Refuse) -> None:
    code, line = refused(typed)
    assert code == 2
    assert line.endswith(" are two outputs: choose one")


# Bug: one format that is given twice, or beside another one in the environment, is refused.
def test_one_format_in_two_ways(monkeypatch: pytest.MonkeyPatch, refused: Refuse) -> None:
    monkeypatch.setenv("LOCALITY_REPLAY_FORMAT", "classic")
    code, line = refused("replay --json --format json /nowhere.arrows")
    assert code == 1
    assert "two outputs" not in line
