"""Where the program begins: ``python -m locality``, and the command `locality`.

Whoever presses Ctrl-C while the program is starting or ending wants it gone, not a traceback.
So the first thing done here is to give SIGINT back the meaning it has for other programs, before
anything is imported that takes time. `locality.cli.main` handles it while a command runs.
"""

# The module behind `signal`, which is part of the interpreter: importing it reads no file.
import _signal  # type: ignore[import-not-found]

if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)

from locality.cli import main

if __name__ == "__main__":
    main()
