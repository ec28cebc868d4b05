"""Progress that survives whatever ends the process."""

import json

import pytest

from tf_ls.inference.progress_file import ProgressFile, ProgressMismatch

IDENTITY = {"model": "m", "source": "s"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out.progress"


def write(path, *batches, **identity):
    with ProgressFile(path, {**IDENTITY, **identity}) as progress:
        for batch in batches:
            progress.add(batch)


def test_goes_on(path):
    write(path, {3: "c", 1: "a"}, {0: "ä\n"})
    with ProgressFile(path, IDENTITY) as progress:
        assert progress.count == 3
        assert list(progress.results()) == [(3, "c"), (1, "a"), (0, "ä\n")]
        progress.add({2: "b"})
        assert len(list(progress.results())) == 3  # what had been done before
    with ProgressFile(path, IDENTITY) as progress:
        assert list(progress.results())[-1] == (2, "b")


def test_nothing_yet(path):
    write(path)
    with ProgressFile(path, IDENTITY) as progress:
        assert progress.count == 0
        assert list(progress.results()) == []


def test_every_torn_end_is_dropped_and_written_over(path):
    write(path, {0: "a"}, {1: "b"})
    whole = path.read_bytes()
    lengths = [len(line) for line in whole.splitlines(keepends=True)]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        complete = sum(size >= sum(lengths[: i + 1]) for i in (1, 2))
        with ProgressFile(path, IDENTITY) as progress:
            assert progress.count == complete
            progress.add({7: "z"})
        with ProgressFile(path, IDENTITY) as progress:
            assert list(progress.results()) == [*[(0, "a"), (1, "b")][:complete], (7, "z")]


def test_zeros_at_the_end_are_dropped(path):
    write(path, {0: "a"})
    path.write_bytes(path.read_bytes() + b"\0" * 10 + b"\n")
    with ProgressFile(path, IDENTITY) as progress:
        assert progress.count == 1


@pytest.mark.parametrize("other", [{"model": "n"}, {"beam_size": "4"}])
def test_another_identity_is_refused_and_keeps_what_there_is(path, other):
    write(path, {0: "a"})
    with pytest.raises(ProgressMismatch, match=f"{next(iter(other))} was .*, now it is"):
        ProgressFile(path, {**IDENTITY, **other})
    with ProgressFile(path, IDENTITY) as progress:
        assert progress.count == 1


def test_restart(path):
    write(path, {0: "a"})
    with ProgressFile(path, {**IDENTITY, "model": "n"}, restart=True) as progress:
        assert progress.count == 0
        progress.add({1: "b"})
    write(path, model="n")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("content", [b"my notes\n", b"x", b"\0" * 9, b'{"format": "other"}\n'])
def test_another_file_is_left_alone(path, content, restart):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="no progress of a translation"):
        ProgressFile(path, IDENTITY, restart=restart)
    assert path.read_bytes() == content


def test_one_process_at_a_time(path):
    with ProgressFile(path, IDENTITY):
        for restart in (False, True):
            with pytest.raises(BlockingIOError, match="another process"):
                ProgressFile(path, IDENTITY, restart=restart)
    write(path)


def test_is_readable_json(path):
    write(path, {0: "a"})
    header, batch = map(json.loads, path.read_text().splitlines())
    assert header == {"format": "tf_ls progress 1", **IDENTITY}
    assert batch == [[0, "a"]]
