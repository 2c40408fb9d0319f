"""The command line: options to a source and its sinks; no logic.

Modules are imported by the commands that use them, so that `--help` does not pay for
numpy and `attach-cbpf` does not pay for libbpf.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from types import ModuleType

import click

from locality import __version__
from locality.commands.completion import asked
from locality.commands.console import CONSOLE, console_options
from locality.commands.interrupts import raising
from locality.commands.lazy import Lazy, LazyGroup, read_environment
from locality.commands.missing import import_failed
from locality.errors import LocalityError
from locality.machine.limits import OURS, open_files

#: What a shell reports for a program that SIGPIPE ended: `locality ... | head` is no error.
EXIT_BROKEN_PIPE = 128 + 13
EXIT_INTERRUPTED = 128 + 2

#: What writing to standard output answers where the reader is there and it still fails.
_OF_WRITING = {
    *(errno.EAGAIN, errno.EBADF, errno.EDQUOT, errno.EFBIG),
    *(errno.EIO, errno.ENOSPC, errno.ENXIO),
}

OPENBLAS_THREADS = "OPENBLAS_NUM_THREADS"

#: Where the kernel shows what it knows: something that is always there, and what mounts it.
_MOUNT = {
    "/proc": ("/proc/self", "mount -t proc proc /proc"),
    "/sys": ("/sys/kernel", "mount -t sysfs sysfs /sys"),
}

#: Where the commands are, and what --help says of them: the first sentence of their own help.
COMMANDS = {
    "accept": Lazy("accept", "Show which CPU accepts and which CPU receives a connection."),
    "attach-cbpf": Lazy("attach", "Choose the worker of a group by the CPU that receives."),
    "check": Lazy("check", "Show which measurements and probe types this kernel allows."),
    "connections": Lazy("connections", "Show accepted connections when they end."),
    "cost": Lazy("cost", "Show how much later packets are read on other CPUs."),
    "demo": Lazy("demo", "Repeat the nginx experiment of 2017 in namespaces."),
    "doctor": Lazy("doctor", "Find settings that cost locality, and fix them."),
    "explain": Lazy("explain", "Explain why connections or datagrams are not local."),
    "export": Lazy("recordings", "Convert a recording, or add it to a data set."),
    "exporter": Lazy("exporter", "Export metrics for Prometheus."),
    "fleet": Lazy("fleet", "Show which of many hosts are least local, and why."),
    "groups": Lazy("groups", "Show SO_REUSEPORT groups: sockets, workers and program."),
    "info": Lazy("recordings", "Show how a recording was made, and how it ended."),
    "lab": Lazy("lab", "Run experiments in network namespaces of their own."),
    "replay": Lazy("recordings", "Print a recording as the measurement printed it."),
    "report": Lazy(
        "recordings",
        "Write a page about recordings, or compare before and after.",
    ),
    "skb": Lazy("skb", "Show the share of packets consumed on the allocating CPU."),
    "spread": Lazy("spread", "Spread one UDP flow: give datagrams random source ports."),
    "top": Lazy("top", "Show who reads what other CPUs received, the worst first."),
    "trial": Lazy("trial", "Try whether serving on the RX CPU helps, at random."),
    "udp": Lazy("udp", "Show which socket, thread and CPU get the datagrams."),
    "undo": Lazy("doctor", "Revert what doctor, explain or trial changed."),
}


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
    params=[*console_options()],
)
@click.version_option(__version__, prog_name="locality")
@click.pass_context
def cli(context: click.Context) -> None:
    """Does Linux handle a packet on the CPU that received it?

    Start with top: it shows who reads far from where packets arrive, and names the next command
    of each row. Then explain says why, attach-cbpf and doctor change it, trial shows whether that
    helps, and report compares before and after (--record). accept, skb, udp, cost and connections
    measure one thing each. Try it out with demo.
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


read_environment(cli, "LOCALITY")


def _give_up_stdout() -> None:
    """Python flushes standard output once more at exit; let that go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _what_failed(error: OSError) -> str:
    """What an error says that no command has an answer to."""
    if error.errno in OURS:
        return (
            f"{error.strerror}: raise the limit of this process (ulimit -n; it is {open_files()})"
        )
    if error.errno is None:  # of a library that cannot be loaded, for one
        return str(error)
    if error.filename is None and error.errno in _OF_WRITING:
        _give_up_stdout()
        return f"standard output: {error.strerror}"
    if error.filename is None:
        return f"a system call was refused: {error.strerror}"
    name = os.fsdecode(error.filename)
    hint = ""
    for place, (always, mount) in _MOUNT.items():
        # What a process has there goes with it, also where all is mounted.
        if name.startswith(f"{place}/") and not os.path.lexists(always):
            hint = f"; is it mounted ({mount})?"
    return f"cannot read {name}: {error.strerror}{hint}"


def _import_quickly() -> None:
    """Leave out what no command needs of what comes with imports: a fifth of a start."""
    # numpy's linear algebra is used for little, and threads for it, one a CPU, would start with the
    # import. Not in os.environ, which is what the commands of a user are run with.
    if OPENBLAS_THREADS not in os.environ:
        os.putenv(OPENBLAS_THREADS, "1")
    # numpy writes its manual into its functions, which nobody reads here.
    for name in ("numpy._core._add_newdocs", "numpy._core._add_newdocs_scalars"):
        sys.modules.setdefault(name, ModuleType(name))


def main() -> None:
    """Run the command line; every error becomes one line and an exit code."""
    _import_quickly()
    if sys.stdout is None:  # started with standard output closed
        # Not pathlib's: --help would pay for it.
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - for the life of the process
    try:
        with raising():
            code = asked(cli)
            if code is None:
                code = _run()
    except KeyboardInterrupt:
        code = EXIT_INTERRUPTED
    # Python would look for garbage among all that there is, now that all of it goes.
    gc.freeze()
    sys.exit(code)


def _run() -> int:
    """The exit code of the command that the arguments ask for."""
    try:
        # Not cli.main(), which has its own idea of a closed pipe: exit status 1.
        with cli.make_context("locality", sys.argv[1:]) as context:
            code = cli.invoke(context)
        sys.stdout.flush()
    except (click.exceptions.Exit, SystemExit) as ended:
        code = ended.exit_code if isinstance(ended, click.exceptions.Exit) else ended.code
    except click.ClickException as error:
        CONSOLE.complain(" ".join(error.format_message().split()))
        code = error.exit_code
    except LocalityError as error:
        CONSOLE.complain(str(error))
        code = error.exit_code
    except BrokenPipeError:
        _give_up_stdout()
        code = EXIT_BROKEN_PIPE
    except click.Abort:
        code = EXIT_INTERRUPTED
    except OSError as error:
        CONSOLE.complain(_what_failed(error))
        code = 1
    except ImportError as error:
        if (line := import_failed(error)) is None:
            raise
        CONSOLE.complain(line)
        code = 1
    except MemoryError:
        CONSOLE.complain(
            "this process can get no more memory: raise its limit (ulimit -v, or its cgroup's)"
        )
        code = 1
    return code if isinstance(code, int) else 0
