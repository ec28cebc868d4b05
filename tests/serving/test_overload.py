"""When a queue is a standing one."""

from tf_ls.serving.overload import Overload


def test_there_is_none_at_first():
    assert not Overload(patience=1.0).lasts(0.0)


def test_a_burst_is_none():
    overload = Overload(patience=1.0)
    overload.observe(True, 10.0)
    assert not overload.lasts(10.9)
    overload.observe(False, 10.9)
    overload.observe(True, 11.0)
    assert not overload.lasts(11.9)


def test_what_always_waits_is():
    overload = Overload(patience=1.0)
    for now in (10.0, 10.4, 10.8):
        overload.observe(True, now)
    assert overload.lasts(11.1)


def test_it_lasts_until_nobody_was_refused_for_a_while():
    overload = Overload(patience=1.0, memory=5.0)
    overload.refused(10.0)
    overload.observe(False, 10.1)
    overload.refused(12.0)
    assert overload.lasts(16.9)
    assert not overload.lasts(17.0)


def test_the_log_tells_when_it_begins_and_ends(caplog):
    overload = Overload(patience=1.0, memory=5.0)
    with caplog.at_level("INFO"):
        overload.observe(True, 0.0)
        for now in (10.0, 11.0, 12.0):
            overload.refused(now)
        overload.observe(False, 16.9)
        assert [record.message for record in caplog.records] == ["overload: requests are refused"]
        overload.observe(False, 17.0)
    assert caplog.records[-1].message == "overload is over"
    assert caplog.records[-1].refused == 3
