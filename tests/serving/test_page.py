"""The page for people, in a browser, on a server that runs."""

from __future__ import annotations

import http.client
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
from browser import chromium, tab
from language_models import save_language_models
from long_requests import busy, post
from models_to_serve import OPTIONS
from playwright.sync_api import expect
from server_process import ServerProcess, eventually

from tf_ls.ops.search_options import LENGTH_PENALTIES, METHODS, SearchOptions
from tf_ls.serving.limits import Limits
from tf_ls.serving.page_files import Page
from tf_ls.serving.rest import Rest

SENTENCE = "Padding is removed."
TOKEN = "a-secret"


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    with tab(browser, f"http://{server.rest}/", viewport={"width": 1200, "height": 900}) as page:
        yield page


SEND = re.compile("Translate|Continue")


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def choose(page, model):
    page.get_by_label("Model").select_option(model)
    expect(page.get_by_role("button", name=SEND)).to_be_enabled()


def text_area(page):
    return page.get_by_role("textbox", name=re.compile("(Sent|Ids of sent)ences|rompts"))


def translate(page, text, **options):
    """Types, chooses and translates; options by their labels."""
    text_area(page).fill(text)
    for label, value in options.items():
        field(page, label.replace("_", " ")).fill(str(value))
    # What is there is not what comes.
    page.evaluate(
        "for (const e of document.querySelectorAll('#results > *')) e.className += ' old'"
    )
    page.get_by_role("button", name=SEND).click()


def field(page, label):
    return page.get_by_role("group", name="Options").get_by_label(label, exact=True)


def shown(page):
    """The sentences that are shown: of each its hypotheses, (text, score)."""
    expect(page.locator(".sentences:not(.old)")).to_be_visible()
    return [
        list(zip(item.locator(".translation").all_inner_texts(), scores(item)))
        for item in page.locator(".sentence").all()
    ]


def scores(item):
    return [float(text) for text in item.locator(".score").all_inner_texts()]


def answered(server, sentences, **options):
    """The same from the server itself."""
    inputs = {"sentences": sentences, **options}
    content = {"signature_name": "translate_with_attention", "inputs": inputs}
    status, answer = server.predict("text", content)
    assert status == 200
    return answer["outputs"]


def assert_shown(page, outputs):
    for found, texts, numbers in zip(shown(page), outputs["translations"], outputs["scores"]):
        assert [text for text, _ in found] == texts
        np.testing.assert_allclose([score for _, score in found], numbers, atol=1e-4)


def error(page):
    return page.get_by_label("Translations").get_by_role("alert")


# What is served ----------------------------------------------------------------------------------


def get(server, path):
    connection = http.client.HTTPConnection(server.rest)
    connection.request("GET", path)  # as it is
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def test_files(server):
    response, body = get(server, "/")
    assert response.status == 200
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    for path in re.findall(r'(?:href|src)="(.*?)"', body):
        response, _ = get(server, f"/{path}")
        assert response.status == 200
        assert response.headers["Content-Security-Policy"] == policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        "/page",
        "/page/",
        "/page/index.html",
        "/index.html",
        "/page/../page_files.py",
        "/page/..%2fpage_files.py",
        "/page/%2e%2e/page_files.py",
        "/page//etc/passwd",
    ],
)
def test_nothing_else_is_served(server, path):
    assert get(server, path)[0].status == 404


def paths(page):
    predictor = SimpleNamespace(limits=Limits())
    rest = Rest(predictor, token=None, ready=lambda: True, read_timeout=1, page=page)
    return {resource.canonical for resource in rest.application().router.resources()}


def test_a_server_without_the_page():
    assert paths(Page()) - paths(None) == Page().paths
    assert "/" in Page().paths


# Translations ------------------------------------------------------------------------------------


def test_the_first_model_that_can_be_used_is_chosen(page):
    expect(page.get_by_label("Model")).to_have_value("ids")
    expect(page.get_by_label("Version").locator("option")).to_have_text(["newest (1)", "1"])


def test_translations_and_their_scores(page, server):
    choose(page, "text")
    sentences = [SENTENCE, "layers", "", "one operation a layer"]
    translate(page, "\n".join(sentences))
    assert_shown(page, answered(server, sentences))
    assert page.locator(".source").all_inner_texts() == [s or "(empty)" for s in sentences]


def test_a_version(page, server):
    choose(page, "text")
    page.get_by_label("Version").select_option("1")
    expect(button(page, "Translate")).to_be_enabled()
    with page.expect_request("**/v1/models/text/versions/1:predict"):
        translate(page, SENTENCE)
    assert_shown(page, answered(server, [SENTENCE]))


def test_the_keyboard_is_enough(page, server):
    choose(page, "text")
    text_area(page).press_sequentially(SENTENCE)
    page.keyboard.press("Control+Enter")
    assert_shown(page, answered(server, [SENTENCE]))
    text_area(page).press_sequentially(" layers")
    page.keyboard.press("Tab")
    expect(button(page, "Translate")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".source")).to_have_text(f"{SENTENCE} layers")


def test_ids(page, server):
    choose(page, "ids")
    translate(page, "1 2 3\n4, 5", Hypotheses=2)
    _, answer = server.predict(
        "ids",
        {
            "signature_name": "serving_with_attention",
            "inputs": {"source": [[1, 2, 3], [4, 5]], "num_hypotheses": 2},
        },
    )
    outputs = answer["outputs"]
    for i, found in enumerate(shown(page)):
        for n, (text, score) in enumerate(found):
            assert (
                text.split()
                == [str(t) for t in outputs["tokens"][i][n]][: outputs["lengths"][i][n]]
            )
            assert score == pytest.approx(outputs["scores"][i][n], abs=1e-4)
    assert page.locator(".source-labels li").all_inner_texts() == ["1", "2", "3"]


def test_without_attention(page, server):
    choose(page, "text")
    field(page, "Attention").uncheck()
    translate(page, SENTENCE)
    [[(text, score)]] = shown(page)
    outputs = answered(server, [SENTENCE])
    assert text == outputs["translations"][0][0]
    assert score == pytest.approx(outputs["scores"][0][0], abs=1e-4)
    expect(page.locator("canvas")).to_have_count(0)


def test_fewer_hypotheses_than_were_asked_for(page):
    """A hypothesis of one token, of which all others are forbidden: there is one."""
    choose(page, "ids")
    page.get_by_text("More options").click()
    forbidden = " ".join(str(i) for i in range(1, 11))
    translate(page, "1", Longest=1, Hypotheses=3, Forbidden_tokens=forbidden)
    assert len(shown(page)[0]) == 1
    expect(page.get_by_text("1 of 3 hypotheses were found.")).to_be_visible()


def test_models_of_others(page):
    page.get_by_label("Model").select_option("arithmetic")
    expect(page.get_by_text("This page cannot use it")).to_be_visible()
    expect(button(page, "Translate")).to_be_disabled()


def test_models_that_continue_prompts(browser, tmp_path):
    with (
        ServerProcess(save_language_models(tmp_path / "models")) as server,
        tab(browser, f"http://{server.rest}/") as page,
    ):
        choose(page, "ids")
        translate(page, "1 3\n5 5 4 5", Longest=9)
        found = [[text for text, _ in hypotheses] for hypotheses in shown(page)]
        inputs = {"prompt": [[1, 3], [5, 5, 4, 5]], "max_length": 9}
        content = {"signature_name": "serving_with_options", "inputs": inputs}
        outputs = server.predict("ids", content)[1]["outputs"]
        for [text], [tokens], [length] in zip(found, outputs["tokens"], outputs["lengths"]):
            assert text.split() == [str(token) for token in tokens[:length]]

        choose(page, "text")
        translate(page, "The host's half", Longest=24)
        [[(text, score)]] = shown(page)
        inputs = {"prompts": ["The host's half"], "max_length": 24}
        content = {"signature_name": "generate_with_options", "inputs": inputs}
        outputs = server.predict("text", content)[1]["outputs"]
        assert text == (outputs["continuations"][0] or "(empty)")
        assert score == pytest.approx(outputs["scores"][0], abs=1e-4)
        expect(page.locator("#show-attention")).to_be_hidden()
        expect(page.get_by_role("heading", name="Continuations")).to_be_visible()


# Options -----------------------------------------------------------------------------------------


def test_options_are_those_of_a_search(page):
    """All of them, with the model's defaults."""
    choose(page, "text")
    values = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#options [id^=option-]')]"
        ".filter((e) => !e.id.endsWith('-hint'))"
        ".map((e) => [e.id.slice(7), e.type === 'checkbox' ? e.checked : e.value]))"
    )
    wanted = vars(SearchOptions(**OPTIONS)).copy()
    del wanted["eos"]
    wanted["forbidden_tokens"] = ""
    assert values.keys() == wanted.keys()
    for name, value in wanted.items():
        assert values[name] == (value if isinstance(value, (bool, str)) else f"{value:g}")
    for name, choices in (("method", METHODS), ("length_penalty", LENGTH_PENALTIES)):
        options = page.locator(f"#option-{name} option").all()
        assert sorted(o.get_attribute("value") for o in options) == sorted(choices)


def test_options_change_the_answer(page, server):
    choose(page, "text")
    translate(page, SENTENCE, Hypotheses=3, Longest=4)
    outputs = answered(server, [SENTENCE], num_hypotheses=3, max_length=4)
    assert outputs["translations"] != answered(server, [SENTENCE])["translations"]
    assert_shown(page, outputs)
    field(page, "Method").select_option("sampling")
    translate(page, SENTENCE, Seed=5, Top_k=3)
    options = {"method": "sampling", "seed": 5, "top_k": 3, "num_hypotheses": 3, "max_length": 4}
    assert_shown(page, answered(server, [SENTENCE], **options))
    button(page, "Back to the model's own").click()
    translate(page, SENTENCE)
    assert_shown(page, answered(server, [SENTENCE]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Beam_size": 17}, "16"),  # the server's limit
        ({"Beam_size": 0}, "1"),
        ({"Beam_size": ""}, "fill out"),
        ({"Beam_size": 2, "Hypotheses": 3}, "At most the beam size, 2."),
        ({"Longest": "1.5"}, "1 and 2"),
        ({"Shortest": 13}, "At most the longest, 12."),
        ({"Forbidden_tokens": "x"}, "match"),
    ],
    ids=str,
)
def test_options_out_of_range_are_not_sent(page, options, message):
    choose(page, "text")
    page.get_by_text("More options").click()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    translate(page, SENTENCE, **options)
    wrong = page.locator("#options input:invalid").first
    expect(wrong).to_be_focused()
    assert message in wrong.evaluate("e => e.validationMessage")
    assert not [url for url in requests if url.endswith(":predict")]


def test_what_is_out_of_sight_is_opened_where_it_is_wrong(page):
    choose(page, "text")
    page.get_by_text("More options").click()
    field(page, "Patience").fill("-1")
    page.get_by_text("More options").click()
    expect(field(page, "Patience")).to_be_hidden()
    translate(page, SENTENCE)
    expect(field(page, "Patience")).to_be_focused()


# What goes wrong ---------------------------------------------------------------------------------


def test_nothing_typed(page):
    choose(page, "text")
    translate(page, " \n")
    expect(error(page)).to_have_text("There is nothing yet: type a sentence.")


def test_words_for_a_model_of_ids(page):
    translate(page, "1 2\n3 x")
    expect(error(page)).to_contain_text("Line 2 has “x”")


def test_what_the_server_says(page):
    translate(page, "1 99")
    expect(error(page)).to_have_text("sentence 0 has 99 at 1, which is not in the vocabulary of 13")
    translate(page, "1 2")
    shown(page)


HOSTILE = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"


def test_text_stays_text(page):
    """What is typed, what the server answers, what its errors say, names of models."""
    choose(page, "text")
    translate(page, HOSTILE)
    shown(page)
    expect(page.locator(".source")).to_have_text(HOSTILE)

    outputs = {
        "translations": [[HOSTILE]],
        "scores": [[-1.0]],
        "source_pieces": [[HOSTILE, "</s>"]],
        "target_pieces": [[[HOSTILE]]],
        "attention": [[[[0.25, 0.75]]]],
    }
    page.route("**/*:predict", lambda route: route.fulfill(json={"outputs": outputs}))
    translate(page, "a")
    expect(page.locator(".translation")).to_have_text(HOSTILE)
    expect(page.locator(".target-labels li")).to_have_text(HOSTILE)
    page.locator("canvas").hover()
    expect(page.locator(".readout")).to_contain_text(HOSTILE)

    page.unroute("**/*:predict")
    page.route("**/*:predict", lambda r: r.fulfill(status=400, json={"error": HOSTILE}))
    translate(page, "a")
    expect(error(page)).to_have_text(HOSTILE)

    version = {"version": "1", "state": "AVAILABLE"}
    models = {"models": [{"name": HOSTILE, "versions": [version]}], "limits": {}}
    page.route("**/v1/models", lambda route: route.fulfill(json=models))
    page.reload()
    expect(page.get_by_label("Model")).to_have_text(HOSTILE)
    assert page.title() == "Translate · tf_ls"
    assert page.locator("main img, main script").count() == 0


def endless(page):
    """Begins a translation that takes hours."""
    choose(page, "ids")
    page.get_by_text("More options").click()
    field(page, "Attention").uncheck()
    options = {"Longest": 1_000_000, "Longer_than_the_source": -1, "Forbidden_tokens": 2}
    translate(page, "1", Beam_size=1, **options)
    expect(page.get_by_text("Working…")).to_be_visible()


@pytest.mark.parametrize("by", ["button", "Escape"])
def test_cancelling_stops_the_server_too(page, server, by):
    cancelled = server.metric("tf_ls_batches_cancelled_total")
    endless(page)
    eventually(lambda: server.metric("tf_ls_batches_running") == 1)
    if by == "button":
        button(page, "Cancel").click()
    else:
        page.keyboard.press("Escape")
    expect(page.get_by_text("Cancelled after")).to_be_visible()
    expect(button(page, "Cancel")).to_be_hidden()
    eventually(lambda: server.metric("tf_ls_batches_cancelled_total") == cancelled + 1)
    button(page, "Back to the model's own").click()
    translate(page, "1 2")
    shown(page)


def test_overload(page, server):
    choose(page, "ids")
    running = busy(server)
    waiting = post(server, b'{"instances": ' + str([[1]] * 290).encode() + b"}")
    eventually(lambda: server.metric("tf_ls_queue_sentences") == 290)
    translate(page, "1\n" * 11)
    expect(error(page)).to_contain_text("overloaded: too many sentences wait.")
    running.close()
    assert waiting.recv(12) == b"HTTP/1.1 200"
    waiting.close()
    button(page, "Try again").click()
    assert len(shown(page)) == 11


def test_trying_again_has_to_wait_as_long_as_the_server_says(page):
    choose(page, "ids")
    answer = {"status": 503, "headers": {"Retry-After": "600"}, "json": {"error": "overloaded"}}
    page.route("**/*:predict", lambda route: route.fulfill(**answer))
    translate(page, "1")
    again = error(page).get_by_role("button")
    expect(again).to_have_text(re.compile(r"Try again in (600|59\d) s"))
    expect(again).to_be_disabled()


# Attention ---------------------------------------------------------------------------------------

PIXELS = """canvas => {
  const {width, height} = canvas;
  return [...canvas.getContext("2d").getImageData(0, 0, width, height).data];
}"""


def pixels(page):
    """[T, S, 4]"""
    canvas = page.locator("canvas").first
    height, width = (int(canvas.get_attribute(name)) for name in ("height", "width"))
    return np.array(canvas.evaluate(PIXELS)).reshape(height, width, 4)


def pieces(labels):
    return [piece for piece in labels if piece]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_picture_is_the_answers_attention(page, server, scheme):
    page.emulate_media(color_scheme=scheme)
    choose(page, "text")
    translate(page, f"{SENTENCE}\nlayers", Hypotheses=2)
    outputs = answered(server, [SENTENCE, "layers"], num_hypotheses=2)
    source, target = pieces(outputs["source_pieces"][0]), pieces(outputs["target_pieces"][0][0])
    wanted = np.array(outputs["attention"][0][0])[: len(target), : len(source)]
    expect(page.locator("canvas")).to_have_count(1)  # the first one is shown, the others wait
    assert page.locator(".source-labels li").all_inner_texts() == source
    assert page.locator(".target-labels li").all_inner_texts() == target

    picture = pixels(page)
    assert picture.shape == (*wanted.shape, 4)
    # The more attention, the further from the ground.
    order = np.argsort(wanted, axis=None)
    darkness = picture[..., :3].sum(-1).ravel()[order] * (1 if scheme == "dark" else -1)
    distinct = np.diff(np.sort(wanted, axis=None)) > 1e-4
    assert (np.diff(darkness)[distinct] >= 0).all()
    largest = [214, 235, 255] if scheme == "dark" else [11, 61, 122]
    assert picture[np.unravel_index(wanted.argmax(), wanted.shape)][:3].tolist() == largest

    canvas, readout = page.locator("canvas"), page.locator(".readout")
    cell = canvas.bounding_box()["width"] / len(source)
    for t in (0, len(target) - 1):
        for s in range(len(source)):
            canvas.hover(position={"x": (s + 0.5) * cell, "y": (t + 0.5) * cell})
            expect(readout).to_have_text(f"{wanted[t][s]:.4f}: {target[t]} reads {source[s]}")


def test_the_picture_follows_the_colour_scheme(page):
    translate(page, "1 2 3")
    shown(page)
    light = pixels(page)
    page.emulate_media(color_scheme="dark")
    eventually(lambda: (pixels(page) != light).any())


def test_the_picture_by_keyboard(page):
    translate(page, "1 2 3")
    canvas, readout = page.locator("canvas"), page.locator(".readout")
    canvas.focus()
    source = page.locator(".source-labels .marked")
    for key, text in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1")):
        page.keyboard.press(key)
        expect(source).to_have_text(text)
        expect(readout).to_have_text(re.compile(rf"0\.\d+: \d+ reads {text}$"))
    page.keyboard.press("Tab")
    expect(source).to_have_count(0)


def test_other_hypotheses_show_theirs_when_asked(page, server):
    choose(page, "text")
    translate(page, SENTENCE, Hypotheses=2)
    second = page.locator(".hypothesis").nth(1)
    second.get_by_role("button", name="Attention").click()
    outputs = answered(server, [SENTENCE], num_hypotheses=2)
    labels = second.locator(".target-labels li")
    expect(labels).to_have_text(pieces(outputs["target_pieces"][0][1]))
    second.get_by_role("button", name="Attention").click()
    expect(second.locator("canvas")).to_be_hidden()


def test_long_sentences_scroll_under_their_labels(page):
    translate(page, " ".join(["5", "6", "7"] * 60))
    box = page.locator(".scroll")
    expect(box).to_be_visible()
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    box.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    label, frame = page.locator(".target-labels").bounding_box(), box.bounding_box()
    assert label["x"] == pytest.approx(frame["x"], abs=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 1200


# Charts ------------------------------------------------------------------------------------------


def value(page, title):
    chart = page.locator(".chart").filter(has=page.get_by_role("heading", name=title, exact=True))
    return chart.locator(".values b").first.inner_text()


TITLES = [
    "Latency",
    "Requests a second",
    "Tokens a second",
    "Sentences that wait",
    "Batch fill",
    "Sentences of a batch",
]


def test_charts_get_points(page):
    assert (
        page.get_by_label("The server, while").get_by_role("heading", level=3).all_inner_texts()
        == TITLES
    )
    eventually(lambda: value(page, "Sentences that wait") == "0")
    translate(page, "1 2 3\n4 5")
    eventually(lambda: all(re.match(r"[\d.]+", value(page, title)) for title in TITLES))
    eventually(lambda: float(value(page, "Tokens a second")) > 0)
    assert re.fullmatch(r"[\d.]+ m?s", value(page, "Latency"))
    assert re.fullmatch(r"[\d.]+ %", value(page, "Batch fill"))
    assert page.locator(".chart .line").count() >= len(TITLES)
    chart = page.get_by_role("img", name=re.compile(r"^Latency: p50 [\d.]+ m?s, p99 [\d.]+ m?s$"))
    chart.hover()
    expect(page.locator(".chart .cursor")).to_have_count(1)


METRICS = """
# TYPE tf_ls_stage_seconds histogram
tf_ls_stage_seconds_bucket{stage="total",le="0.1"} %(below)d
tf_ls_stage_seconds_bucket{stage="total",le="0.2"} %(all)d
tf_ls_stage_seconds_bucket{stage="total",le="+Inf"} %(all)d
tf_ls_stage_seconds_bucket{stage="queue",le="+Inf"} 7
tf_ls_requests_total{protocol="rest",model="a \\"}{,\\\\ b",code="OK"} %(all)d
tf_ls_queue_sentences 5
"""


def test_quantiles_and_rates(page):
    """As Prometheus has them: linear within a bucket."""
    script = """async ([before, after]) => {
      const {History} = await import("/page/metrics.js");
      const history = new History(300, 10);
      history.add(100, before);
      history.add(104, after);
      history.add(106, null);
      history.add(108, before);
      return history.points;
    }"""
    texts = [METRICS % {"below": 10, "all": 20}, METRICS % {"below": 50, "all": 100}]
    first, second, none, fresh = page.evaluate(script, texts)
    assert first["requests"] is None
    assert first["waiting"] == 5
    # 80 requests in 4 seconds, 40 of them below 0.1
    assert second["requests"] == 20
    assert second["p50"] == pytest.approx(0.1)
    assert second["p99"] == pytest.approx(0.1 + 0.1 * (0.99 * 80 - 40) / 40)
    assert none["waiting"] is None
    assert fresh["requests"] is None  # what was missed has no rate


# Who asks, and from where ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def closed(models):
    """Starts servers that need a token, all on one port."""
    environment = {"TF_LS_SERVE_TOKEN": TOKEN}
    with ServerProcess(models / "ids", environment=environment) as first:
        port = first.rest.split(":")[1]
        yield (
            first,
            lambda: ServerProcess(models / "ids", f"--rest-port={port}", environment=environment),
        )


def give(page, token):
    page.get_by_label("Token", exact=True).fill(token)
    button(page, "Continue").click()


def test_a_token_is_asked_for_and_sent(browser, closed):
    server, _ = closed
    with tab(browser, f"http://{server.rest}/") as page:
        dialog = page.get_by_role("dialog", name="This server needs a token")
        expect(dialog).to_be_visible()
        button(page, "Not now").click()
        expect(dialog).to_be_hidden()
        expect(page.get_by_text("a bearer token is needed")).to_be_visible()
        button(page, "Change token").click()
        give(page, "wrong")
        expect(page.get_by_text("The server does not accept this token.")).to_be_visible()
        give(page, TOKEN)
        expect(button(page, "Translate")).to_be_enabled()
        translate(page, "1 2 3")
        shown(page)
        eventually(lambda: value(page, "Sentences that wait") == "0")
        page.reload()  # the tab knows it
        expect(button(page, "Translate")).to_be_enabled()
        expect(dialog).to_be_hidden()
        assert TOKEN not in page.content()


def test_a_server_that_goes_and_comes_back(browser, closed):
    server, start_again = closed
    with tab(browser, f"http://{server.rest}/") as page:
        give(page, TOKEN)
        expect(button(page, "Translate")).to_be_enabled()
        server.process.kill()
        server.process.wait()
        translate(page, "1 2 3")
        expect(error(page)).to_have_text("The server cannot be reached.")
        expect(page.get_by_text("Trying again…")).to_be_visible()
        with start_again():
            expect(page.get_by_text("The server answers")).to_be_visible()
            expect(button(page, "Translate")).to_be_enabled()
            translate(page, "1 2 3")
            shown(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones(browser, server, scheme):
    """Nothing is wider than the screen, whatever is shown."""
    settings = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with tab(browser, f"http://{server.rest}/", has_touch=True, **settings) as page:
        choose(page, "text")
        expect(field(page, "Beam size")).to_be_hidden()
        page.locator("#options-box > summary").click()
        page.get_by_text("More options").click()
        translate(page, "Padding" * 30 + "\n" + SENTENCE, Hypotheses=2)
        shown(page)
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        assert page.evaluate(widths) == [360, 360]


def test_everything_has_a_name(page):
    """What can be used, for those who hear the page."""
    translate(page, "1 2 3", Hypotheses=2)
    shown(page)
    nameless = page.evaluate(
        """[...document.querySelectorAll("input, select, textarea, button, canvas, svg, dialog")]
          .filter((e) => !(e.labels?.length || e.textContent.trim() || e.ariaLabel
            || document.getElementById(e.getAttribute("aria-labelledby"))))
          .map((e) => e.outerHTML)"""
    )
    assert nameless == []
    assert page.locator("html").get_attribute("lang") == "en"


def test_json_with_numbers_that_json_has_not(page):
    script = """async (text) => {
      const {parse} = await import("/page/api.js");
      return JSON.stringify(parse(text).map(String));
    }"""
    found = page.evaluate(script, r'[-Infinity, Infinity, NaN, "NaN \" -Infinity", 1]')
    assert json.loads(found) == ["-Infinity", "Infinity", "null", 'NaN " -Infinity', "1"]
