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

TEST(Layouts, pictures_that_the_content_names_are_not_shown_again_from_a_list) {
  const std::string expected = "user: [a.png] 't'";
  for (const char* part : {R"({"type": "image", "image": "a.png"})", R"({"image": "a.png"})",
                           R"({"type": "image_url", "image_url": "a.png"})",
                           R"({"type": "image_url", "image_url": {"url": "a.png"}})"})
    for (const char* list : {R"("images": ["a.png"])", R"("image": "a.png")",
                             R"("images": [{"path": "a.png", "bytes": null}])"}) {
      const std::string record = std::string("{") + list + R"(, "messages": [{"role": "user", "content": [)" +
                                 part + R"(, {"type": "text", "text": "t"}]}]})";
      EXPECT_EQ(shown(record.c_str()), expected) << record;
    }
  EXPECT_EQ(shown(R"({"videos": [["a.png", "b.png"], "c.mp4"], "messages": [{"role": "user", "content": [
                      {"type": "video", "video": ["a.png", "b.png"]}, {"type": "video_url", "video_url": "c.mp4"}]}]})"),
            "user: <a.png,b.png> <c.mp4>");
  EXPECT_EQ(shown(R"({"images": ["a.png"], "videos": ["c.mp4"], "messages": [
                      {"role": "user", "content": [{"type": "image", "image": "a.png"}]},
                      {"role": "user", "content": "<video>"}]})"),
            "user: [a.png] | user: <c.mp4>");
  EXPECT_EQ(shown(R"({"images": ["a.png"], "messages": [{"role": "user", "content": [
                      {"type": "video", "video": "c.mp4"}]}]})"),
            "user: [a.png] <c.mp4>");
}

TEST(Layouts, a_list_of_other_pictures_than_the_content_names_is_refused) {
  const auto error = [](const std::string& list) {
    const std::string record = R"({"images": )" + list + R"(, "messages": [{"role": "user", "content": [
        {"type": "image", "image": "a.png"}, {"type": "image", "image": "b.png"}]}]})";
    return message_of([&] { conversation_of(json::parse(record)); });
  };
  EXPECT_EQ(error(R"(["a.png", "b.png"])"), "no error");
  for (const char* list :
       {R"(["a.png"])", R"(["b.png", "a.png"])", R"(["a.png", "c.png"])", R"(["a.png", "b.png", "c.png"])",
        R"([{"image": "a.png", "max_pixels": 9000}, "b.png"])"})
    EXPECT_THAT(error(list), HasSubstr("the content names images itself")) << list;
}

TEST(Layouts, pictures_of_a_sample_are_shown_where_the_record_names_none) {
  const auto sources = [](const char* record) {
    const std::vector<std::string> pictures = {"k.png"};
    std::string out;
    for (const Message& message : conversation_of(json::parse(record), {}, pictures))
      for (const ContentPart& part : message.content) out += part.source + part.text + ";";
    return out;
  };
  EXPECT_EQ(sources(R"({"messages": [{"role": "user", "content": "t"}]})"), "k.png;t;");
  EXPECT_EQ(sources(R"({"messages": [{"role": "user", "content": "t<image>"}]})"), "t;k.png;");
  EXPECT_EQ(sources(R"({"image": "a.png", "messages": [{"role": "user", "content": "t<image>"}]})"),
            "t;a.png;");
  EXPECT_EQ(sources(R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]})"),
            "a.png;");
  EXPECT_EQ(sources(R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "a.png"}]},
                        {"role": "user", "content": "<image>"}]})"),
            "a.png;k.png;");
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
  for (const char* name : {"a.ppm", "a.pgm", "a.pnm", "a.jfif", "a.heic", "a.avif"})
    EXPECT_THAT(error("scan", std::string("\"") + name + "\""), HasSubstr("\"scan\"")) << name;
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

TEST(Layouts, keys_inside_of_unread_ones_are_looked_at_too) {
  const auto error = [](const std::string& value, std::vector<std::string_view> own = {}) {
    const std::string record =
        R"({"messages": [{"role": "user", "content": "What?"}], "extra": )" + value + "}";
    return message_of([&] { conversation_of(json::parse(record), own); });
  };
  const std::string picture = '"' + std::string(64, 'A') + '"';
  for (const std::string& value :
       {R"({"image": )" + picture + "}", R"([{"image": )" + picture + "}]",
        R"({"a": [1, {"image": [)" + picture + "]}]}", R"({"image": {"bytes": )" + picture + "}}"}) {
    EXPECT_THAT(error(value), HasSubstr("the key \"image\" inside \"extra\" looks like pictures")) << value;
    EXPECT_EQ(error(value, {"extra"}), "no error");
  }
  for (const char* value :
       {R"({"image_width": 640, "image_id": 5, "image_size": [640, 480], "has_video": false})",
        R"({"image_source": "coco", "photographer": "Ann"})",
        R"({"image": null, "video": "", "pictures": [[]], "frames": {}})", R"({"split": "train"})"})
    EXPECT_EQ(error(value), "no error") << value;
}

TEST(Layouts, a_text_alone_has_no_pictures) {
  const auto error = [](const char* record) {
    return message_of([&] { refuse_pictures_beside_text(json::parse(record)); });
  };
  for (const char* key : {"image", "images", "video", "videos", "image_path"})
    EXPECT_THAT(error((std::string(R"({"text": "a", ")") + key + R"(": "a.png"})").c_str()),
                HasSubstr(std::string("the key \"") + key + "\" looks like pictures"));
  EXPECT_THAT(error(R"({"text": "a", "scan": "a.ppm"})"), HasSubstr("\"messages\" in place of \"text\""));
  EXPECT_EQ(error(R"({"text": "a.png", "id": "0001.jpg", "images": [], "meta": {"image_id": 5},
                      "url": "https://example.org/File:A.jpg"})"),
            "no error");
}

}  // namespace
}  // namespace dvlm
