"""What a training shows: everything in a file, and on a terminal no more than its width holds, the loss first."""

import io
import os
import re
import struct

import pytest

from minivae.training.progress import Bar, Lines, fitting, progress_for

END = "\x04"
STEP = {"loss": 590.25, "nll": 589.5, "vq": 0.75, "perplexity": 20.5, "usage": 0.5, "images_per_second": 8811.0}
RECORD = {"epoch": 3, **STEP, **{f"validation_{k}": v + 1 for k, v in STEP.items() if "images" not in k}, "lr": 0.1}


@pytest.fixture
def terminal():
    """terminal(columns): a stream to a pseudo-terminal of that width, and a function that gives what was written."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    opened = []

    def make(columns):
        reader, writer = pty.openpty()
        fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        stream = os.fdopen(writer, "w", encoding="utf-8")
        opened.append((stream, reader))

        def written():
            stream.write(END)
            stream.flush()
            text = b""
            while not text.endswith(END.encode()):  # it comes in pieces
                text += os.read(reader, 1 << 16)
            return text.decode().removesuffix(END)

        return stream, written

    yield make
    for stream, reader in opened:
        stream.close()
        os.close(reader)


def train(progress):
    progress.start_epoch(3, 15, 4)
    for _ in range(4):
        progress.step(STEP)
        if isinstance(progress, Bar):
            progress._bar.refresh()  # which tqdm does ten times a second at most
    progress.end_epoch(RECORD)


@pytest.mark.parametrize("columns", [40, 60, 80, 250])
def test_no_line_is_wider_than_the_terminal_and_each_shows_the_loss(terminal, columns):
    pytest.importorskip("tqdm")
    stream, written = terminal(columns)
    bar = progress_for(stream)
    assert isinstance(bar, Bar)
    train(bar)
    lines = [line for line in re.split(r"[\r\n]+", written()) if line.strip()]
    assert max(map(len, lines)) < columns
    assert "3/15" in lines[0]  # before the first step there is no loss
    assert len(lines) > 2
    assert all("loss 590.25" in line for line in lines[1:])
    assert ("validation_loss 591.25" in lines[-1]) == (columns >= 60)
    assert ("8,811 images/s" in lines[-1]) == (columns == 250)


def test_a_terminal_that_does_not_know_its_width(terminal):
    pytest.importorskip("tqdm")
    stream, written = terminal(0)
    train(progress_for(stream))
    assert "loss 590.25  nll 589.50" in written()


def test_a_file_gets_everything():
    stream = io.StringIO()
    progress = progress_for(stream)
    assert type(progress) is Lines
    train(progress)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("epoch 3/15  loss 590.25  nll 589.50")
    assert all(f"{name} {value:.2f}" in line for name, value in RECORD.items() if name.startswith("validation"))


def test_what_does_not_fit_is_left_out_from_the_end():
    parts = ["epoch 1/2", "loss 1.00", "nll 2.00", "kl 3.00", "validation_loss 4.00", "9 images/s"]
    whole, least = "  ".join(parts), "epoch 1/2  loss 1.00"
    assert fitting(parts, None) == fitting(parts, len(whole)) == whole
    for columns in range(len(whole)):
        line = fitting(parts, columns)
        assert line.startswith(least)
        assert len(line) <= max(columns, len(least))
    assert fitting(parts, 52) == f"{least}  validation_loss 4.00  nll 2.00"
    assert fitting(parts, 51) == f"{least}  validation_loss 4.00"
