"""What on this machine costs locality, and the command that changes it.

    facts.read()  ->  Machine  ->  checklist()  ->  Finding(s)  ->  changes, undo file

Facts are what files and calls answered, each with its path. Checks are pure functions of
facts. Only `changes` writes.
"""
