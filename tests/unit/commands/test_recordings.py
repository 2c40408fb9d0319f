"""The commands that read recordings: what they say beside their results."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from locality.cli import main
from locality.recording import message
from locality.recording.reader import Reader
from locality.text import counted
from tests.unit.recordings import accepts, packets

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "info": ("info",),
    "info json": ("info", "--json"),
    "replay": ("replay", "--speed", "0"),
    "replay json": ("replay", "--speed", "0", "--json"),
    "csv": ("export", "out.csv"),
    "json": ("export", "out.json"),
    "parquet": ("export", "out.parquet"),
    "standard output": ("export", "-"),
    "dataset": ("export", "--dataset", "set"),
    "report": ("report", "-o", "out.html"),
}


# Bug: a recording with a damaged length is refused, and the line says neither which nor where.
def test_a_refused_recording_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = accepts(tmp_path / "one.arrows", 2000, 0.5)
    with Reader(path) as reader:
        at = reader.read
        monkeypatch.setattr(message, "_decompressed", lambda *_: 1 << 62)
        monkeypatch.setattr(sys, "argv", ["locality", "info", str(path)])
        with pytest.raises(SystemExit) as ended:
            main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert f"cannot read {path}, from byte {at} on: the recording is damaged" in said


# Bug: "1 batches", "1 rows in 1 files".
def test_one_is_not_several(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    accepts(tmp_path / "one.arrows", 1, 1.0)
    packets(tmp_path / "skb.arrows", 1, 1.0)
    for words in (
        "info one.arrows",
        "info skb.arrows",
        "export one.arrows out.csv",
        "export --dataset set skb.arrows",
    ):
        monkeypatch.setattr(sys, "argv", ["locality", *words.split()])
        with pytest.raises(SystemExit):
            main()
    said = capsys.readouterr().out
    assert "holds      1 accepted connection, 1 row in 1 batch, " in said
    assert "holds      1 interval of packet counts, " in said
    assert "1 row written to out.csv" in said
    assert " in 1 file, " in said


# Bugs: `export` and `report` of a recording that was cut off, or damaged afterwards, read less
# than there is and say nothing of it; one says it otherwise than the other.
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("damaged", [False, True], ids=["cut off", "damaged"])
def test_bytes_that_were_not_read_are_told(
    command: str,
    damaged: bool,  # noqa: FBT001 - a parameter of the test
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    path = accepts(tmp_path / "one.arrows", 2000, 0.5)
    data = bytearray(path.read_bytes())
    if damaged:
        data[len(data) // 2 : len(data) // 2 + 100] = b"\xa5" * 100
    else:
        del data[len(data) * 3 // 4 :]
    path.write_bytes(data)
    with Reader(path) as reader:
        assert sum(map(len, reader)) < 2000
        lost = counted(reader.torn, "byte")
        assert reader.torn
    name, *options = COMMANDS[command]
    before = [options.pop()] if name == "export" and options[0] != "--dataset" else []
    monkeypatch.setattr(sys, "argv", ["locality", name, *options, "one.arrows", *before])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr().err
    assert ended.value.code in {None, 0}
    assert said.count(lost) == 1, said
    assert ("one.arrows: the recording is damaged from byte" in said) == damaged
    assert ("one.arrows: the recorder did not end in order" in said) != damaged
