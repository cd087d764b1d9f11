#include "data/layouts.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "message_of.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

// "user: [a.png] text | assistant: ..." of a record.
std::string shown(const char* record) {
  std::string out;
  for (const Message& message : conversation_of(json::parse(record))) {
    out += (out.empty() ? "" : " | ") + message.role + ":";
    for (const ContentPart& part : message.content) {
      std::string frames;
      for (const std::string& frame : part.frames) frames += (frames.empty() ? "" : ",") + frame;
      out += part.type == ContentPart::Type::text    ? " '" + part.text + "'"
             : part.type == ContentPart::Type::image ? " [" + part.source + "]"
                                                     : " <" + part.source + frames + ">";
    }
  }
  return out;
}

TEST(Layouts, llava_shows_pictures_in_place_and_strips_the_text_between) {
  EXPECT_EQ(shown(R"({"image": "a.png", "conversations": [{"from": "human", "value": "<image>\nWhat?"},
                      {"from": "gpt", "value": " <image> \n"}]})"),
            "user: [a.png] 'What?' | assistant: ' <image> \n'");
  EXPECT_EQ(shown(R"({"image": ["a.png", "b.png"], "video": "c.mp4", "conversations": [
                      {"from": "system", "value": "Be short."},
                      {"from": "human", "value": "See <image> and\n<video> and <image>"}, {"from": "gpt", "value": "x"}]})"),
            "system: 'Be short.' | user: 'See' [a.png] 'and' <c.mp4> 'and' [b.png] | assistant: 'x'");
}

TEST(Layouts, ms_swift_and_llama_factory_keep_the_text_as_it_is) {
  EXPECT_EQ(shown(R"({"images": ["a.png"], "messages": [{"role": "user", "content": "<image>\nWhat? "},
                      {"role": "assistant", "content": "x"}]})"),
            "user: [a.png] '\nWhat? ' | assistant: 'x'");
  EXPECT_EQ(
      shown(
          R"({"images": ["a.png"], "system": "s", "conversations": [{"from": "human", "value": "What? <image>"}]})"),
      "system: 's' | user: 'What? ' [a.png]");
  EXPECT_EQ(
      shown(R"({"videos": [["a.png", "b.png"]], "messages": [{"role": "user", "content": "<video>What?"}]})"),
      "user: <a.png,b.png> 'What?'");
}

TEST(Layouts, pictures_without_a_place_stand_before_the_first_question) {
  EXPECT_EQ(shown(R"({"images": ["a.png", {"path": "b.png"}], "messages": [{"role": "system", "content": "s"},
                      {"role": "user", "content": "What?"}, {"role": "user", "content": "Well?"}]})"),
            "system: 's' | user: [a.png] [b.png] 'What?' | user: 'Well?'");
  EXPECT_EQ(
      shown(
          R"({"images": ["a.png"], "messages": [{"role": "user", "content": [{"type": "text", "text": "t"}]}]})"),
      "user: [a.png] 't'");
}

TEST(Layouts, parts_without_a_source_take_the_listed_pictures) {
  EXPECT_EQ(shown(R"({"images": ["b.png"], "messages": [{"role": "user", "content": [
                      {"type": "image", "image": "a.png"}, {"type": "image"}, {"type": "text", "text": "<image>"}]}]})"),
            "user: [a.png] [b.png] '<image>'");
}

TEST(Layouts, without_pictures_a_tag_is_text) {
  EXPECT_EQ(shown(R"({"images": null, "image": "", "messages": [{"role": "user", "content": "<image>"}]})"),
            "user: '<image>'");
  EXPECT_EQ(shown(R"({"image": [], "conversations": [{"from": "human", "value": "<image>"}]})"),
            "user: '<image>'");
}

TEST(Layouts, a_listed_picture_may_say_its_size) {
  const Conversation conversation = conversation_of(json::parse(
      R"({"images": [{"image": "a.png", "max_pixels": 9000}], "messages": [{"role": "user", "content": "<image>"}]})"));
  EXPECT_EQ(conversation[0].content[0].max_pixels, 9000);
}

TEST(Layouts, what_does_not_fit_is_refused_by_name) {
  const auto error = [](const char* record) {
    return message_of([&] { conversation_of(json::parse(record)); });
  };
  const std::string user = R"("messages": [{"role": "user", "content": "<image>What?"}])";
  const auto with = [&](const std::string& rest) { return error(("{" + rest + ", " + user + "}").c_str()); };
  EXPECT_THAT(error("{}"), HasSubstr("\"messages\" or \"conversations\""));
  EXPECT_THAT(error("[]"), HasSubstr("an object"));
  EXPECT_THAT(error(R"({"conversations": [], "messages": []})"), HasSubstr("not both"));
  EXPECT_THAT(error(R"({"conversations": {}})"), HasSubstr("must be a list"));
  EXPECT_THAT(error(R"({"conversations": [1]})"), HasSubstr("turn 1"));
  EXPECT_THAT(
      error(R"({"conversations": [{"from": "human", "value": "x"}, {"from": "tool", "value": "x"}]})"),
      HasSubstr("turn 2 is from \"tool\""));
  EXPECT_THAT(error(R"({"conversations": [{"from": "human", "value": 1}]})"), HasSubstr("\"value\""));
  EXPECT_THAT(error(R"({"conversations": [{"from": "human", "value": "x", "weight": 0}]})"),
              HasSubstr("\"weight\""));
  EXPECT_THAT(with(R"("images": ["a.png", "b.png"])"),
              HasSubstr("2 images are listed, and <image> stands there 1 times"));
  EXPECT_THAT(with(R"("image": "a.png", "images": ["a.png"])"), HasSubstr("both \"image\" and \"images\""));
  EXPECT_THAT(with(R"("images": [7])"), HasSubstr("\"images\" must list paths"));
  EXPECT_THAT(with(R"("images": [{"bytes": "aGVsbG8="}])"), HasSubstr("\"images\" must list paths"));
  EXPECT_THAT(error(R"({"images": ["a.png"], "messages": [{"role": "user", "content": "<image><image>"}]})"),
              HasSubstr("more <image> than the 1"));
  EXPECT_THAT(error(R"({"images": ["a.png"], "messages": [{"role": "assistant", "content": "x"}]})"),
              HasSubstr("no question"));
  EXPECT_THAT(error(R"({"messages": [{"role": "user", "content": "Picture 1: <img>a.png</img>\nWhat?"}]})"),
              HasSubstr("<img>"));
}

TEST(Layouts, keys_that_look_like_pictures_are_never_passed_over) {
  const auto error = [](const std::string& key, const std::string& value,
                        std::vector<std::string_view> own = {}) {
    const std::string record =
        R"({"messages": [{"role": "user", "content": "What?"}], ")" + key + "\": " + value + "}";
    return message_of([&] { conversation_of(json::parse(record), own); });
  };
  for (const char* key : {"image_path", "img", "pictures", "image_file", "frames", "audio", "Video_URL"})
    EXPECT_THAT(error(key, R"(["x"])"), HasSubstr(std::string("the key \"") + key + "\" looks like pictures"))
        << key;
  EXPECT_THAT(error("source", R"("photos/A.JPEG")"), HasSubstr("\"source\""));
  EXPECT_THAT(error("media", R"({"list": ["a.mp4"]})"), HasSubstr("\"media\""));
  EXPECT_THAT(error("data", R"("data:image/png;base64,AAAA")"), HasSubstr("\"data\""));
  EXPECT_THAT(error("objects", R"({"bbox": []})"), HasSubstr("\"objects\" is not read"));
  EXPECT_THAT(error("tools", R"([{"name": "x"}])"), HasSubstr("\"tools\" is not read"));
  for (const auto& [key, value] : {std::pair{"id", R"("0001.jpg")"},
                                   {"source", R"("coco")"},
                                   {"image_path", "null"},
                                   {"pictures", "[]"},
                                   {"image_id", "7"}})
    EXPECT_EQ(error(key, value), "no error") << key;
  EXPECT_EQ(error("answer", R"("a.png")", {"answer"}), "no error");
}

}  // namespace
}  // namespace dvlm
