"""Models and versions in a folder, with a loader that only notes what it was given."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from tf_ls.serving.errors import ServingError
from tf_ls.serving.metrics import Metrics
from tf_ls.serving.model_store import ModelStore


def put(folder: Path, content: str = "good") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_text(content)
    return folder


def load(path: Path) -> str:
    content = (path / "saved_model.pb").read_text()
    if content != "good":
        raise ValueError(f"{path} is {content}")
    return f"loaded {path.name}"


def store_of(path: Path, **more) -> ModelStore:
    return ModelStore(
        path, **{"name": None, "load": load, "keep": 1, "metrics": Metrics(1), **more}
    )


def states(store: ModelStore, name: str) -> dict[int, str]:
    return {version.number: version.state for version in store.versions(name)}


def started(store: ModelStore) -> ModelStore:
    asyncio.run(store.start())
    return store


def refreshed(store: ModelStore, times: int = 2) -> None:
    """Twice, because what is new must stay as it is for one look."""

    async def refresh():
        for _ in range(times):
            await store.refresh()

    asyncio.run(refresh())


def test_a_saved_model(tmp_path):
    store = started(store_of(put(tmp_path / "translator")))
    assert store.names == ["translator"]
    assert store.ready
    with store.lease("translator") as version:
        assert (version.number, version.model) == (1, "loaded translator")
    assert started(store_of(tmp_path / "translator", name="other")).names == ["other"]


def test_a_folder_of_versions(tmp_path):
    for version in ("2", "10", "9"):
        put(tmp_path / "model" / version)
    put(tmp_path / "model" / "11x")
    (tmp_path / "model" / "12").mkdir()
    store = started(store_of(tmp_path / "model"))
    with store.lease("model") as version:
        assert version.model == "loaded 10"
    assert states(store, "model") == {10: "AVAILABLE"}


def test_a_folder_of_models(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b" / "4")
    put(tmp_path / ".hidden")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    store = started(store_of(tmp_path))
    assert store.names == ["a", "b"]
    with store.lease("b", 4) as version:
        assert version.model == "loaded 4"


def test_several_versions_at_a_time(tmp_path):
    for version in "1234":
        put(tmp_path / "model" / version)
    store = started(store_of(tmp_path / "model", keep=2))
    assert states(store, "model") == {4: "AVAILABLE", 3: "AVAILABLE"}
    with store.lease("model", 3) as version:
        assert version.number == 3


def test_a_new_version_takes_over_and_the_old_one_leaves_with_its_last_request(tmp_path):
    put(tmp_path / "model" / "1")
    store = started(store_of(tmp_path / "model"))

    async def scenario():
        with store.lease("model") as old:
            put(tmp_path / "model" / "2")
            await store.refresh()
            assert states(store, "model") == {1: "AVAILABLE"}
            await store.refresh()
            assert states(store, "model") == {2: "AVAILABLE", 1: "UNLOADING"}
            assert old.model == "loaded 1"
            with store.lease("model") as new:
                assert new.model == "loaded 2"
            with (
                pytest.raises(ServingError, match=r"Specific\(model, 1\)"),
                store.lease("model", 1),
            ):
                pass
        assert states(store, "model") == {2: "AVAILABLE", 1: "END"}
        assert old.model is None

    asyncio.run(scenario())


def test_a_version_that_is_being_copied_is_left_alone(tmp_path):
    put(tmp_path / "model" / "1")
    store = started(store_of(tmp_path / "model"))
    for step in range(4):
        (put(tmp_path / "model" / "2") / f"more{step}").touch()
        refreshed(store, times=1)
    assert states(store, "model") == {1: "AVAILABLE"}
    refreshed(store, times=1)
    assert states(store, "model") == {2: "AVAILABLE", 1: "END"}


def test_a_broken_version_is_reported_and_tried_again_when_it_changes(tmp_path, caplog):
    put(tmp_path / "model" / "1")
    store = started(store_of(tmp_path / "model"))
    put(tmp_path / "model" / "2", "broken")
    refreshed(store)
    assert states(store, "model") == {2: "END", 1: "AVAILABLE"}
    [failed, _] = store.versions("model")
    assert "could not be loaded" in failed.error
    assert str(tmp_path) not in failed.error
    assert "2 is broken" in caplog.text
    caplog.clear()
    refreshed(store)
    assert not caplog.text
    put(tmp_path / "model" / "2")
    refreshed(store)
    assert states(store, "model") == {2: "AVAILABLE", 1: "END"}


def test_a_broken_newest_version_at_the_start(tmp_path):
    put(tmp_path / "model" / "1")
    put(tmp_path / "model" / "2", "broken")
    store = started(store_of(tmp_path / "model"))
    assert states(store, "model") == {2: "END", 1: "AVAILABLE"}
    assert store.ready


def test_going_back_by_taking_a_version_away(tmp_path):
    for version in "12":
        put(tmp_path / "model" / version)
    store = started(store_of(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model" / "2")
    refreshed(store)
    assert states(store, "model") == {2: "END", 1: "AVAILABLE"}
    put(tmp_path / "model" / "2")
    refreshed(store)
    assert states(store, "model") == {2: "AVAILABLE", 1: "END"}


def test_the_last_version_stays_when_its_folder_goes(tmp_path):
    put(tmp_path / "model" / "1")
    store = started(store_of(tmp_path / "model"))
    shutil.rmtree(tmp_path / "model" / "1")
    refreshed(store)
    assert states(store, "model") == {1: "AVAILABLE"}


def test_a_new_model(tmp_path):
    put(tmp_path / "a")
    store = started(store_of(tmp_path))
    put(tmp_path / "b", "broken")
    refreshed(store)
    assert store.names == ["a", "b"]
    assert store.ready


def test_a_model_that_never_loads(tmp_path):
    put(tmp_path / "a")
    put(tmp_path / "b", "broken")
    store = started(store_of(tmp_path))
    assert store.loaded
    assert not store.ready
    with pytest.raises(ServingError, match=r"Servable not found for request: Latest\(b\)"):
        store.lease("b").__enter__()


@pytest.mark.parametrize("name", ["", "..", "../models", "/etc/passwd", "c", "a/1"])
def test_names_are_looked_up_and_never_in_the_file_system(tmp_path, name):
    store = started(store_of(put(tmp_path / "a").parent))
    with pytest.raises(ServingError, match="Servable not found") as error:
        store.lease(name).__enter__()
    assert error.value.code == "NOT_FOUND"
    with pytest.raises(ServingError, match="Could not find any versions of model"):
        store.versions(name)


def test_no_models(tmp_path):
    with pytest.raises(ValueError, match="has no SavedModel"):
        store_of(tmp_path)
    put(tmp_path / "a")
    with pytest.raises(ValueError, match="a folder of models, whose names are theirs: not x"):
        store_of(tmp_path, name="x")
