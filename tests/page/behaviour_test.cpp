// What the page makes of passes, keys, themes and narrow screens, with a server that has no model.
#include <gmock/gmock.h>

#include "fake_server.h"
#include "page_fixture.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::string> kWords = {"The",  " picture", " shows", " a",  " wooden", " table", " with",
                                         " six", " objects", " on",    " it", ".",       "\n",     "One",
                                         " is",  " a",       " key",   ".",   " Done",   "."};
constexpr const char* kText = "The picture shows a wooden table with six objects on it.\nOne is a key. Done.";

class Page : public PageTest {
 protected:
  // "state:text" of each cell.
  std::vector<std::string> cells() {
    return browser().run(
        "return [...document.querySelectorAll('#cells .cell')].map((cell) => "
        "cell.className.replace('cell ', '') + ':' + cell.firstChild.textContent)");
  }
};

TEST_F(Page, shows_which_drafts_were_right) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), kText);
  show_pass(2);
  EXPECT_THAT(text_of("#view-caption"), HasSubstr("Pass 2 of 11 · draft: proposes 7 tokens · 8 rows"));
  EXPECT_THAT(cells(), testing::ElementsAre("known:The", "draft:picture", "draft:shows", "draft:a",
                                            "draft:wrong", "draft:wrong", "draft:wrong", "draft:wrong"));
  show_pass(3);
  EXPECT_THAT(text_of("#view-caption"), HasSubstr("verify: checks 7 drafts, keeps 3"));
  EXPECT_THAT(cells(),
              testing::ElementsAre("known:The", "right:picture", "right:shows", "right:a", "wrong:wrong",
                                   "fixed:wooden", "wrong:wrong", "wrong:wrong", "wrong:wrong"));
  show_pass(5);  // every draft was right
  EXPECT_EQ(cells().back(), "fixed:↵");
  EXPECT_EQ(text_of("#count-tokens"), "20");
  EXPECT_EQ(text_of("#count-passes"), "10");
  EXPECT_EQ(text_of("#count-ratio"), "1.90");
  EXPECT_THAT(text_of("#count-accepted"), HasSubstr("%"));
  EXPECT_EQ(browser().run("return document.querySelectorAll('#chart .bar').length"), 6);

  // Which pass wrote what.
  EXPECT_EQ(
      browser().run("return [...document.querySelectorAll('.piece')].slice(0, 3).map((p) => p.textContent)"),
      (json{"The", " picture shows a wooden", " table with six objects on it.\n"}));
  EXPECT_EQ(text_of(".piece.now"), " table with six objects on it.\n");
  browser().click("#marks");
  EXPECT_EQ(browser().run("return document.body.classList.contains('marks')"), true);
  EXPECT_THAT(browser().errors(), IsEmpty());
}

TEST_F(Page, shows_masks_becoming_text) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  choose("decoder", "mdm");
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), kText);
  show_pass(2);
  EXPECT_THAT(cells(), testing::ElementsAre("known:The", "masked:\u00a0", "masked:\u00a0", "masked:\u00a0",
                                            "masked:\u00a0", "new:table", "new:with", "new:six"));
  show_pass(3);
  EXPECT_THAT(cells(), testing::ElementsAre("known:The", "new:picture", "new:shows", "new:a", "new:wooden",
                                            "known:table", "known:with", "known:six"));
  EXPECT_EQ(text_of("#count-accepted"), "–");
}

// What a form does to a question, and what is shown of an answer that is JSON.
TEST_F(Page, answers_have_a_form) {
  FakeServer server(
      {.tokens = {"[", "{\"bbox_2d\": [", "10, 20, 110, 120", "], \"label\": \"", "<b>key", "\"}", "]"}});
  open(server.url());
  browser().click("#example");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length === 1"));
  EXPECT_EQ(browser().run("return document.getElementById('form_text').hidden"), true);
  choose("form", "schema");
  EXPECT_EQ(text_of("#form-problem"), "The form is empty.");
  ask("Locate all objects.");
  EXPECT_THAT(text_of("#problem"), HasSubstr("The form is empty.")) << "nothing is asked";
  EXPECT_THAT(server.questions(), IsEmpty());
  browser().click("#form-examples button");
  EXPECT_EQ(text_of("#form-problem"), "");
  browser().click("#send");
  ASSERT_TRUE(answered()) << text_of("#problem");
  const json sent = server.questions().at(0)["response_format"];
  EXPECT_EQ(sent["type"], "json_schema");
  EXPECT_THAT(
      sent["json_schema"]["schema"],
      testing::ResultOf([](const json& text) { return text.get<std::string>(); }, HasSubstr("bbox_2d")));
  EXPECT_EQ(
      browser().run("return [...document.querySelectorAll('.json .key')].map((key) => key.textContent)"),
      (json{"\"bbox_2d\"", "\"label\""}));
  EXPECT_EQ(
      browser().run("const box = document.querySelector('.boxes rect'); return ['x', 'y', 'width', 'height']"
                    ".map((name) => Number(box.getAttribute(name)))"),
      (json{10, 20, 100, 100}));
  EXPECT_EQ(text_of(".boxes text"), "<b>key") << "texts of models are no HTML";
  choose("form", "regex");
  ask("Again?");
  ASSERT_TRUE(answered(2));
  EXPECT_TRUE(server.questions().at(1)["structured_outputs"].contains("regex"));
  EXPECT_THAT(browser().errors(), IsEmpty());
}

// Calls are shown, and what they gave goes back under their ids.
TEST_F(Page, tools_are_called_and_answered) {
  const auto piece = [](int index, json function) {
    json out = {{"index", index}, {"function", std::move(function)}};
    if (out["function"].contains("name")) out["id"] = "call_" + std::to_string(index);
    return out;
  };
  FakeServer server(
      {.tokens = kWords,
       .calls = {piece(0, {{"name", "move"}, {"arguments", ""}}), piece(0, {{"arguments", "{\"x\": "}}),
                 piece(0, {{"arguments", "4}"}}), piece(1, {{"name", "<b>look"}, {"arguments", "{}"}})}});
  open(server.url());
  choose("form", "tools");
  browser().click("[data-example=tools]");
  EXPECT_EQ(text_of("#form-problem"), "");
  ask("Go.");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), "move({\"x\": 4})\n<b>look({})");
  EXPECT_EQ(
      browser().run("return [...document.querySelectorAll('.call h4')].map((name) => name.textContent)"),
      (json{"move", "<b>look"}));
  browser().run("document.querySelectorAll('.call textarea')[1].value = 'a wall'");
  browser().click(".calls button");
  ASSERT_TRUE(answered(2)) << text_of("#problem");
  const json asked = server.questions().at(0), sent = server.questions().at(1);
  EXPECT_EQ(asked["tool_choice"], "auto");
  EXPECT_EQ(asked["tools"][0]["function"]["name"], "point_at");
  EXPECT_EQ(sent["messages"], json::parse(R"([{"role": "user", "content": "Go."},
    {"role": "assistant", "content": "", "tool_calls": [
      {"id": "call_0", "type": "function", "function": {"name": "move", "arguments": "{\"x\": 4}"}},
      {"id": "call_1", "type": "function", "function": {"name": "<b>look", "arguments": "{}"}}]},
    {"role": "tool", "tool_call_id": "call_0", "content": ""},
    {"role": "tool", "tool_call_id": "call_1", "content": "a wall"}])"));
  EXPECT_EQ(text_of(".question .results"), "nothinga wall");
  EXPECT_THAT(browser().errors(), IsEmpty());
}

// Pieces that no good server sends change nothing; a call without arguments has none; text follows calls.
TEST_F(Page, pieces_of_calls_may_be_anything) {
  FakeServer server({.tokens = kWords,
                     .calls = {nullptr,
                               {{"index", 0}, {"function", nullptr}},
                               {{"index", 0}, {"function", {{"arguments", "x"}}}},
                               {{"index", 1}, {"function", {{"name", "first"}}}},
                               {{"index", 1}, {"function", {{"name", ""}}}},
                               {{"index", 0}, {"function", {{"name", "list"}, {"arguments", "[1]"}}}}}});
  open(server.url());
  choose("form", "call");
  browser().click("[data-example=tools]");
  ask("Go.");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), "first()\nlist([1])");
  EXPECT_EQ(server.questions().at(0)["tool_choice"], "required");
  browser().click(".calls button");
  ASSERT_TRUE(answered(2)) << text_of("#problem");
  EXPECT_EQ(server.questions().at(1)["tool_choice"], "auto");
  EXPECT_EQ(
      server.questions().at(1)["messages"][1]["tool_calls"],
      json::parse(
          R"([{"id": "call_1", "type": "function", "function": {"name": "first", "arguments": "{}"}}])"))
      << "arguments are objects";
  EXPECT_EQ(browser().run("return document.querySelectorAll('.calls:not(.done)').length"), 0);
  EXPECT_THAT(browser().errors(), IsEmpty());
}

TEST_F(Page, does_without_passes_where_the_server_has_none) {
  FakeServer server({.tokens = kWords, .knows_passes = false});
  open(server.url());
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), kText);
  EXPECT_THAT(text_of("#view-caption"), HasSubstr("does not tell"));
  ask("And there?");
  ASSERT_TRUE(answered(2));
  ASSERT_EQ(server.questions().size(), 3) << "it is told once";
  EXPECT_FALSE(server.questions()[2]["dvlm"].contains("passes"));
  EXPECT_EQ(server.questions()[2]["messages"].size(), 3) << "question, answer, question";
}

TEST_F(Page, shows_what_the_server_does_before_there_is_text) {
  FakeServer server({.tokens = kWords,
                     .pass_ms = 400,
                     .work = {{{"stage", "picture"}, {"done", 8}, {"total", 32}, {"picture", 2}},
                              {{"stage", "prompt"}, {"done", 610}, {"total", 1220}}}});
  open(server.url());
  ask("What is there?");
  const auto shows = [&](const std::string& text) {
    return browser().wait("document.querySelector('.working')?.textContent === '" + text + "'");
  };
  EXPECT_TRUE(shows("Looking at picture 2: 25 %"));
  EXPECT_TRUE(shows("Reading the question: 50 %"));
  ASSERT_TRUE(answered()) << text_of("#problem");
  EXPECT_EQ(text_of(".answer .text"), kText);
  EXPECT_EQ(browser().run("return document.querySelectorAll('.working').length"), 0);
}

TEST_F(Page, plays_slowly_what_was_too_fast) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  choose("view-pace", "1");
  ask("What is there?");
  ASSERT_TRUE(answered());
  EXPECT_EQ(text_of("#view-play"), "Pause");
  EXPECT_TRUE(browser().wait("Number(document.getElementById('view-at').value) >= 1"));
  browser().emulate("prefers-reduced-motion", "reduce");
  ask("Again?");
  ASSERT_TRUE(answered(2));
  EXPECT_EQ(text_of("#view-play"), "Play");
}

TEST_F(Page, is_used_by_keyboard) {
  FakeServer server({.tokens = kWords, .pass_ms = 500});
  open(server.url());
  choose("decoder", "ar");
  browser().type("#question", std::string("first") + kShift + kEnter + kShift + "second");
  EXPECT_EQ(browser().run("return document.getElementById('question').value"), "first\nsecond");
  EXPECT_THAT(server.questions(), IsEmpty());
  browser().type("#question", kEnter);
  ASSERT_TRUE(browser().wait("document.querySelector('.answer .text')?.textContent.length > 5"));
  EXPECT_EQ(browser().run("return document.getElementById('send').hidden"), true);
  browser().type("body", kEscape);
  ASSERT_TRUE(answered());
  EXPECT_THAT(text_of(".answer .notes"), HasSubstr("stopped"));
  EXPECT_LT(text_of(".answer .text").size(), std::string(kText).size());
  EXPECT_EQ(browser().run("return document.activeElement.id"), "question");
  EXPECT_EQ(server.questions()[0]["messages"][0]["content"], "first\nsecond");
  browser().click("#new-chat");
  EXPECT_EQ(browser().run("return document.querySelectorAll('.turn').length"), 0);
}

TEST_F(Page, sends_what_the_settings_say_and_remembers_them) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  for (const auto& [id, value] : {std::pair{"decoder", "fused"},
                                  {"block_size", "16"},
                                  {"branches", "2"},
                                  {"temperature", "0.75"},
                                  {"top_p", "0.9"},
                                  {"seed", "-7"},
                                  {"max_tokens", "99"},
                                  {"system", "Be brief."}})
    choose(id, value);
  open(server.url());
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  const json question = server.questions().at(0);
  EXPECT_EQ(
      question["dvlm"],
      (json{
          {"decoder", "fused"}, {"block_size", 16}, {"branches", 2}, {"passes", true}, {"progress", true}}));
  EXPECT_EQ(question["temperature"], 0.75);
  EXPECT_EQ(question["top_p"], 0.9);
  EXPECT_EQ(question["seed"], -7);
  EXPECT_EQ(question["max_tokens"], 99);
  EXPECT_EQ(question["messages"][0], (json{{"role", "system"}, {"content", "Be brief."}}));
  choose("temperature", "9");
  ask("What is there?");
  ASSERT_TRUE(browser().wait("!document.getElementById('problem').hidden"));
  EXPECT_THAT(text_of("#problem"), HasSubstr("Temperature"));
  EXPECT_EQ(server.questions().size(), 1);
}

TEST_F(Page, takes_text_for_text) {
  FakeServer server({.tokens = {"<img src=x onerror=alert(1)>", "<b>", "&amp;"}});
  open(server.url());
  ask("<script>alert(2)</script>");
  ASSERT_TRUE(answered());
  EXPECT_EQ(text_of(".answer .text"), "<img src=x onerror=alert(1)><b>&amp;");
  EXPECT_EQ(text_of(".question .text"), "<script>alert(2)</script>");
  EXPECT_EQ(browser().run("return document.querySelectorAll('main img, main b, main script').length"), 0);
  EXPECT_THAT(browser().errors(), IsEmpty());
}

TEST_F(Page, scales_large_pictures_and_turns_lying_ones) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  choose("picture_side", "800");
  // Two files at once: a wide PNG, and a JPEG whose EXIF header says that it lies on its side.
  browser().run(R"(
    const made = (width, height, type) => new Promise((done) => {
      const canvas = Object.assign(document.createElement("canvas"), {width, height});
      canvas.getContext("2d").fillRect(0, 0, 5, 5);
      canvas.toBlob(done, type);
    });
    return Promise.all([made(2000, 1000, "image/png"), made(60, 40, "image/jpeg")]).then(async ([wide, lying]) => {
      const exif = [0xff, 0xe1, 0, 34, 0x45, 0x78, 0x69, 0x66, 0, 0, 0x4d, 0x4d, 0, 42, 0, 0, 0, 8,
                    0, 1, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0];
      const turned = new Blob([lying.slice(0, 2), new Uint8Array(exif), lying.slice(2)]);
      const carried = new DataTransfer();
      carried.items.add(new File([wide], "wide.png", {type: "image/png"}));
      carried.items.add(new File([turned], "lying.jpg", {type: "image/jpeg"}));
      carried.items.add(new File(["text"], "notes.txt", {type: "text/plain"}));
      const input = document.getElementById("files");
      input.files = carried.files;
      input.dispatchEvent(new Event("change"));
    });)");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length === 2"));
  ASSERT_TRUE(browser().wait("[...document.querySelectorAll('#thumbs img')].every((i) => i.naturalWidth)"));
  EXPECT_EQ(browser().run("return [...document.querySelectorAll('#thumbs img')].map((i) => "
                          "[i.naturalWidth, i.naturalHeight])"),
            (json{{800, 400}, {40, 60}}));
  EXPECT_THAT(text_of("#problem"), HasSubstr("notes.txt is not a picture"));
  browser().click("#thumbs li:first-child button");
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  const json content = server.questions().at(0)["messages"][0]["content"];
  ASSERT_EQ(content.size(), 2);
  EXPECT_TRUE(content[0]["image_url"]["url"].get<std::string>().starts_with("data:image/jpeg;base64,"));
  EXPECT_EQ(content[1]["text"], "What is there?");
}

// Who drops a picture and asks at once is answered about it.
TEST_F(Page, waits_for_a_picture_that_is_being_read) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  browser().run(R"(
    const canvas = Object.assign(document.createElement("canvas"), {width: 1500, height: 1500});
    const pen = canvas.getContext("2d"), noise = pen.createImageData(1500, 1500);
    for (let i = 0; i < noise.data.length; ++i) noise.data[i] = i * 7919 >> 5;
    pen.putImageData(noise, 0, 0);
    return new Promise((done) => canvas.toBlob(done)).then((blob) => {
      const carried = new DataTransfer();
      carried.items.add(new File([blob], "large.png", {type: "image/png"}));
      document.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true}));
      document.getElementById("question").value = "What is there?";
      document.getElementById("composer").requestSubmit();
    });)");
  ASSERT_TRUE(answered()) << text_of("#problem");
  const json content = server.questions().at(0)["messages"][0]["content"];
  ASSERT_TRUE(content.is_array()) << content;
  EXPECT_EQ(content.size(), 2);
  EXPECT_EQ(browser().run("return document.querySelectorAll('#thumbs img').length"), 0);
}

TEST_F(Page, pictures_are_read_while_the_question_is_written) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  browser().click("#example");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length === 1"));
  ask("What is there?");
  ASSERT_TRUE(answered()) << text_of("#problem");
  ASSERT_EQ(server.read_ahead().size(), 1);
  EXPECT_EQ(server.read_ahead()[0]["max_tokens"], 0);
  const json known = server.read_ahead()[0]["messages"][0]["content"],
             asked = server.questions().at(0)["messages"][0]["content"];
  EXPECT_EQ(known[0], asked[0]) << "the picture";
  EXPECT_EQ(known[1]["text"], "");
  EXPECT_EQ(asked[1]["text"], "What is there?");
  EXPECT_THAT(browser().errors(), IsEmpty());
}

TEST_F(Page, shows_how_far_a_picture_is_read_that_is_asked_about_at_once) {
  FakeServer server({.tokens = kWords,
                     .pass_ms = 1000,
                     .work = {{{"stage", "picture"}, {"done", 8}, {"total", 32}, {"picture", 1}},
                              {{"stage", "picture"}, {"done", 16}, {"total", 32}, {"picture", 1}}}});
  open(server.url());
  browser().click("#example");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length === 1"));
  ask("What is there?");
  EXPECT_TRUE(
      browser().wait("document.querySelector('.working')?.textContent === 'Looking at picture 1: 50 %'"));
  EXPECT_THAT(server.questions(), IsEmpty()) << "it is asked once the picture is read";
  browser().click("#stop");
  EXPECT_TRUE(browser().wait("document.getElementById('stop').hidden"));
  EXPECT_THAT(server.questions(), IsEmpty());
  EXPECT_EQ(browser().run("return document.querySelectorAll('#thumbs img').length"), 1) << "it is put back";
}

// Nor is a question asked without the picture that it is about.
TEST_F(Page, keeps_a_question_whose_picture_cannot_be_read) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  browser().run(R"(
    const carried = new DataTransfer();
    carried.items.add(new File([new Uint8Array(1 << 20)], "broken.png", {type: "image/png"}));
    document.dispatchEvent(new DragEvent("drop", {dataTransfer: carried, bubbles: true}));
    document.getElementById("question").value = "What is there?";
    document.getElementById("composer").requestSubmit();)");
  ASSERT_TRUE(browser().wait("document.getElementById('question').value === 'What is there?'"));
  EXPECT_THAT(text_of("#problem"), HasSubstr("broken.png is of a kind"));
  EXPECT_TRUE(server.questions().empty());
}

// A file manager copies a file's name beside it, an office program a picture beside its text.
TEST_F(Page, pastes_files_as_pictures_and_formatted_text_as_text) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  const auto paste = [&](const std::string& type) {
    browser().run(R"(
      const canvas = Object.assign(document.createElement("canvas"), {width: 20, height: 20});
      return new Promise((done) => canvas.toBlob(done)).then((blob) => {
        const carried = new DataTransfer();
        carried.items.add(new File([blob], "a.png", {type: "image/png"}));
        carried.setData("text/plain", "a.png");
        carried.setData(")" +
                  type + R"(", "a.png");
        document.getElementById("question").dispatchEvent(
          new ClipboardEvent("paste", {clipboardData: carried, bubbles: true, cancelable: true}));
      });)");
  };
  paste("text/html");
  paste("text/x-unknown");
  ASSERT_TRUE(browser().wait("document.querySelectorAll('#thumbs img').length > 0"));
  EXPECT_EQ(browser().run("return document.querySelectorAll('#thumbs img').length"), 1);
}

TEST_F(Page, says_when_the_connection_ends_before_the_answer) {
  FakeServer server({.tokens = kWords, .pass_ms = 300, .breaks_after = 2});
  open(server.url());
  ask("What is there?");
  ASSERT_TRUE(answered());
  EXPECT_THAT(text_of(".answer .notes"), HasSubstr("The connection ended before the answer did."));
}

TEST_F(Page, refuses_a_key_that_no_header_can_carry) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  browser().run(R"(
    document.getElementById("key-box").hidden = false;
    document.getElementById("key").value = "secret\u200b";
    document.getElementById("key-use").click();)");
  EXPECT_THAT(text_of("#problem"), HasSubstr("ASCII"));
  EXPECT_EQ(browser().run("return document.getElementById('key-box').hidden"), false);
  ask("What is there?");
  EXPECT_TRUE(answered()) << "it was not taken";
}

TEST_F(Page, changes_its_colours_and_keeps_the_choice) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  const auto ground = [&] { return browser().run("return getComputedStyle(document.body).backgroundColor"); };
  browser().emulate("prefers-color-scheme", "light");
  const json light = ground();
  browser().emulate("prefers-color-scheme", "dark");
  const json dark = ground();
  EXPECT_NE(light, dark);
  browser().click("#theme");  // light, whatever the system has
  EXPECT_EQ(ground(), light);
  open(server.url());
  EXPECT_EQ(ground(), light);
  browser().click("#theme");
  browser().emulate("prefers-color-scheme", "light");
  EXPECT_EQ(ground(), dark);
}

TEST_F(Page, fits_a_narrow_screen) {
  FakeServer server({.tokens = {"A", " word", std::string(300, 'w'), " that", " is", " long"}});
  browser().resize(360, 740);
  open(server.url());
  EXPECT_LE(width_beyond_view(), 0);
  ask(std::string(200, 'q'));
  ASSERT_TRUE(answered());
  browser().type("#question", "Again?");
  browser().click("#race");
  ASSERT_TRUE(
      browser().wait("document.querySelector('#announcer').textContent.startsWith('Race finished')", 30));
  EXPECT_LE(width_beyond_view(), 0);
}

TEST_F(Page, names_every_control) {
  FakeServer server({.tokens = kWords});
  open(server.url());
  EXPECT_EQ(
      browser().run("return [...document.querySelectorAll('input, select, textarea')].filter((field) => "
                    "!field.labels?.length).map((field) => field.id)"),
      json::array());
  EXPECT_EQ(browser().run("return [...document.querySelectorAll('button')].filter((button) => "
                          "!button.textContent.trim()).length"),
            0);
}

}  // namespace
}  // namespace dvlm
