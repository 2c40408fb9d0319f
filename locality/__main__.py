"""Where the program begins: ``python -m locality``, and the command `locality`.

Whoever presses Ctrl-C while the program is starting or ending wants it gone, not a traceback.
So the first thing done here is to give SIGINT back the meaning it has for other programs, before
anything is imported that takes time. `locality.cli.main` handles it while a command runs.

What imports make is kept until the end: the garbage collector has nothing to find among it. A
start makes 45,000 objects that it would look at, which takes it a tenth of the start.
"""

# Both are part of the interpreter: importing them reads no file. _signal is behind `signal`.
import _signal  # type: ignore[import-not-found]
import gc

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

#: So many new objects and the garbage collector looks for those that only name each other.
OBJECTS_A_COLLECTION = 50_000
gc.set_threshold(OBJECTS_A_COLLECTION)

from locality.cli import main  # noqa: E402 - see above

if __name__ == "__main__":
    main()
