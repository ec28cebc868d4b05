"""Files through a model that is not one: order, line ends, and going on after whatever happened."""

import os
import signal
import subprocess
import sys
import time

import pytest

import tf_ls.inference.file_translation as module
from tf_ls.inference.file_translation import FileTranslation, ProgressMismatch, translate_file


class Shouter:
    """A model that translates to capitals, and remembers its batches."""

    def __init__(self):
        self.batches = []

    def __call__(self, sentences: list[str]) -> list[str]:
        self.batches.append(list(sentences))
        return [sentence.upper() for sentence in sentences]

    @property
    def sentences(self) -> list[str]:
        return [sentence for batch in self.batches for sentence in batch]


class Failure(Exception):
    pass


def failing_after(count: int):
    shouter = Shouter()

    def translate(sentences: list[str]) -> list[str]:
        if len(shouter.batches) == count:
            raise Failure
        return shouter(sentences)

    return translate


@pytest.fixture
def shouter():
    return Shouter()


@pytest.fixture
def source(tmp_path):
    return tmp_path / "text.en"


@pytest.fixture
def target(tmp_path):
    return tmp_path / "text.de"


@pytest.fixture
def translate(source, target, shouter):
    def translate(content: bytes, model=shouter, identity="m", **options) -> FileTranslation:
        source.write_bytes(content)
        return translate_file(
            model, source, target, identity={"model": identity}, progress=False, **options
        )

    return translate


def lines(count: int) -> bytes:
    """Of many lengths, not sorted."""
    return b"".join(b"%d %s\n" % (i, b"ab" * (i * 37 % 23)) for i in range(count))


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr(module, "WINDOW", 10)


# What comes out -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a",
        b"a\n",
        b"\n",
        b"\n\n",
        b"a\n\nb\n",
        b"a\r\nb\r\n",
        b"a\r\n\r\nb",
        b"a\nb\r\nc",
        "grüße\n你好\n".encode(),
    ],
    ids=repr,
)
def test_every_line_has_its_translation_and_its_end(translate, target, content):
    result = translate(content)
    assert target.read_bytes().decode() == content.decode().upper()
    assert result.lines == content.count(b"\n") + (not content.endswith(b"\n") and content != b"")


def test_order_is_kept(translate, target, shouter):
    result = translate(lines(1000), batch_size=7)
    assert target.read_bytes() == lines(1000).upper()
    assert result == FileTranslation(lines=1000, sentences=1000, resumed=0)
    assert len(shouter.sentences) == 1000


@pytest.mark.parametrize("count", [9, 10, 11, 95])
def test_order_is_kept_over_windows(small_windows, translate, target, shouter, count):
    translate(lines(count), batch_size=4)
    assert target.read_bytes() == lines(count).upper()
    assert shouter.sentences[:9] != lines(count).decode().splitlines()[:9]  # they were sorted


def test_batches_are_of_similar_lengths_longest_first(translate, shouter):
    translate(lines(100), batch_size=8)
    lengths = [len(sentence) for sentence in shouter.sentences]
    assert lengths == sorted(lengths, reverse=True)
    assert [len(batch) for batch in shouter.batches] == [8] * 12 + [4]


def test_blank_lines_never_reach_the_model(translate, target, shouter):
    result = translate(b"a\n  \n\t\r\n\nb\n")
    assert target.read_bytes() == b"A\n\n\r\n\nB\n"
    assert shouter.sentences == ["a", "b"]
    assert (result.lines, result.sentences) == (5, 2)


def test_a_translation_stays_on_its_line(translate, target):
    translate(b"a\nb\n", model=lambda sentences: ["x\ny\r\nz"] * len(sentences))
    assert target.read_bytes() == b"x y z\nx y z\n"


def test_replaces_the_target_when_all_is_done(translate, target):
    target.write_text("old\n")
    with pytest.raises(Failure):
        translate(lines(10), failing_after(1), batch_size=2)
    assert target.read_text() == "old\n"
    translate(lines(10), batch_size=2)
    assert target.read_bytes() == lines(10).upper()


def test_leaves_nothing_else_behind(translate, target, source, tmp_path):
    translate(lines(10))
    assert sorted(tmp_path.iterdir()) == sorted([source, target])


@pytest.mark.parametrize("progress", [None, True])
def test_progress_bar(source, target, shouter, capfd, progress):
    source.write_bytes(lines(10))
    translate_file(shouter, source, target, identity={}, progress=progress)
    shown = capfd.readouterr().err
    assert ("10/10" in shown) == (progress is True)  # None: this is no terminal


# Going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("batches", [0, 1, 4, 12])
def test_goes_on_after_a_failure(small_windows, translate, target, shouter, batches):
    with pytest.raises(Failure):
        translate(lines(45), failing_after(batches), batch_size=3)
    assert not target.exists()
    result = translate(lines(45), batch_size=3)
    assert target.read_bytes() == lines(45).upper()
    assert result.sentences == 45
    assert result.resumed == 45 - len(shouter.sentences)
    assert 0 <= 3 * batches - result.resumed <= 2 * batches  # a window's last batch is smaller


def test_goes_on_with_another_batch_size(small_windows, translate, target, shouter):
    with pytest.raises(Failure):
        translate(lines(45), failing_after(5), batch_size=4)
    translate(lines(45), batch_size=3)
    assert target.read_bytes() == lines(45).upper()
    assert len(shouter.sentences) == 45 - 18


def test_goes_on_after_several_failures(small_windows, translate, target):
    for _ in range(6):
        with pytest.raises(Failure):
            translate(lines(45), failing_after(2), batch_size=3)
    assert translate(lines(45), batch_size=3).resumed == 30
    assert target.read_bytes() == lines(45).upper()


def test_nothing_is_left_to_do(translate, target, monkeypatch):
    """Stopped behind the last batch, before the target was there."""

    def fail(*arguments):
        raise Failure

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "replace", fail)
        with pytest.raises(Failure):
            translate(lines(5))
    assert translate(lines(5), model=None).resumed == 5
    assert target.read_bytes() == lines(5).upper()


def test_goes_on_from_other_windows(small_windows, translate, target, monkeypatch):
    with pytest.raises(Failure):
        translate(lines(45), failing_after(9), batch_size=3)
    monkeypatch.setattr(module, "WINDOW", 13)
    translate(lines(45), batch_size=3)
    assert target.read_bytes() == lines(45).upper()


_TRANSLATE_SLOWLY = """
import sys, time
from tf_ls.inference import file_translation as module
module.WINDOW = 10

def translate(sentences):
    time.sleep(0.02)
    return [sentence.upper() for sentence in sentences]

module.translate_file(translate, *sys.argv[1:], identity={"model": "m"}, batch_size=3)
"""


def test_goes_on_after_being_killed(small_windows, translate, source, target, shouter):
    source.write_bytes(lines(2000))
    process = subprocess.Popen([sys.executable, "-c", _TRANSLATE_SLOWLY, source, target])
    progress = target.with_name(target.name + ".progress")
    deadline = time.monotonic() + 60
    while not (progress.exists() and progress.read_bytes().count(b"\n") > 15):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not target.exists()

    result = translate(lines(2000), batch_size=3)
    assert target.read_bytes() == lines(2000).upper()
    assert 15 < result.resumed < 2000
    assert result.resumed == 2000 - len(shouter.sentences)


def test_a_changed_source_is_noticed(translate, target):
    with pytest.raises(Failure):
        translate(lines(20), failing_after(2), batch_size=3)
    with pytest.raises(ProgressMismatch, match="source was"):
        translate(lines(20).replace(b"3", b"x"))
    assert not target.exists()


def test_a_changed_model_is_noticed(translate, shouter):
    with pytest.raises(Failure):
        translate(lines(20), failing_after(2), batch_size=3)
    with pytest.raises(ProgressMismatch, match="model was m, now it is n"):
        translate(lines(20), identity="n")
    assert translate(lines(20), identity="n", restart=True).resumed == 0
    assert len(shouter.sentences) == 20


def test_a_source_that_changes_meanwhile_is_noticed(
    small_windows, translate, source, target, shouter
):
    def model(sentences: list[str]) -> list[str]:
        source.write_bytes(lines(5000).replace(b"4", b"x"))
        return shouter(sentences)

    with pytest.raises(ValueError, match="was changed while"):
        translate(lines(5000), model)
    assert not target.exists()


# Bad input ----------------------------------------------------------------------------------------


def test_what_is_no_utf8_is_refused_before_anything_is_translated(translate, shouter, tmp_path):
    with pytest.raises(ValueError, match="line 501: not UTF-8"):
        translate(lines(500) + b"\xff\n")
    assert shouter.batches == []
    assert [path.name for path in tmp_path.iterdir()] == ["text.en"]


@pytest.mark.parametrize("wrong", [[], ["a"], ["a", "b", "c"]])
def test_a_model_that_returns_another_number_of_translations(translate, wrong):
    with pytest.raises(ValueError, match=f"returned {len(wrong)} translations for 2 sentences"):
        translate(b"a\nb\n", model=lambda sentences: wrong)


def test_missing_source(shouter, source, target):
    with pytest.raises(FileNotFoundError, match=r"text\.en is no file"):
        translate_file(shouter, source, target, identity={})


def test_a_pipe(shouter, target, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileNotFoundError, match="cannot be a pipe"):
        translate_file(shouter, tmp_path / "pipe", target, identity={})


def test_target_that_is_the_source(shouter, source):
    source.write_bytes(b"a\n")
    with pytest.raises(ValueError, match="needs another name"):
        translate_file(shouter, source, source.parent / "." / source.name, identity={})
    assert source.read_bytes() == b"a\n"


def test_bad_batch_size(translate):
    with pytest.raises(ValueError, match="at least 1, got 0"):
        translate(b"a\n", batch_size=0)


def test_two_at_a_time(translate, source, target, shouter):
    def model(sentences):
        with pytest.raises(BlockingIOError, match="another process"):
            translate_file(shouter, source, target, identity={"model": "m"}, progress=False)
        return sentences

    translate(b"a\n", model)
    assert target.read_bytes() == b"a\n"
