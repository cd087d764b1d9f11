// libdvlm as a program sees it: only its own headers, frames in memory, JSON in and out.
#include <gtest/gtest.h>
#include <dvlm/dvlm.hpp>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using nlohmann::json;

const std::string kModel = DVLM_MODELS "/dvlm-tiny";

// A table-coloured picture with a red disc in the middle.
std::vector<uint8_t> disc(int side) {
  std::vector<uint8_t> rgb;
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x) {
      const int dx = x - side / 2, dy = y - side / 2;
      const bool inside = dx * dx + dy * dy < 24 * 24;
      const uint8_t colour[] = {inside ? uint8_t{214} : uint8_t{235}, inside ? uint8_t{38} : uint8_t{232},
                                inside ? uint8_t{38} : uint8_t{225}};
      rgb.insert(rgb.end(), colour, colour + 3);
    }
  return rgb;
}

json question(const std::string& text, const std::string& decoder) {
  return {{"messages",
           {{{"role", "user"},
             {"content", {{{"type", "image"}, {"image", "frame:0"}}, {{"type", "text"}, {"text", text}}}}}}},
          {"decoder", decoder},
          {"max_tokens", 64}};
}

TEST(Api, AnswersAboutAFrameInMemory) {
  dvlm::client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame{rgb.data(), 224, 224};
  std::string streamed;
  const json answer = json::parse(engine.generate(question("Describe the picture.", "spec").dump(),
                                                  {&frame, 1}, [&](std::string_view text) {
                                                    streamed += text;
                                                    return true;
                                                  }));
  EXPECT_EQ(answer["text"], streamed);
  EXPECT_EQ(answer["usage"]["image_tokens"], 64);
  const json again =
      json::parse(engine.generate(question("Describe the picture.", "ar").dump(), {&frame, 1}));
  EXPECT_EQ(again["tokens"], answer["tokens"]);
}

TEST(Api, HoldsAnswersToAForm) {
  dvlm::client::Engine engine(kModel);
  json request = {{"messages", {{{"role", "user"}, {"content", "Where is it?"}}}}, {"max_tokens", 60}};
  request["json_schema"] =
      R"({"type":"object","properties":{"z":{"enum":[1,2]},"a":{"type":"boolean"}},"required":["z","a"]})";
  request["json_spaces"] = "none";
  const json answer = json::parse(engine.generate(request.dump()));
  const auto text = answer["text"].get<std::string>();
  EXPECT_EQ(text.find(R"({"z":)"), 0u) << text;
  EXPECT_TRUE(json::parse(text)["a"].is_boolean());
  EXPECT_GT(answer["stats"]["forced_tokens"], 5);
  request["regex"] = "a";
  EXPECT_THROW(engine.generate(request.dump()), std::runtime_error) << "two forms";
}

TEST(Api, ChoosesByItselfAndCanBeTold) {
  const json request = {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}, {"max_tokens", 8}};
  const auto stats = [&](const char* options) {
    dvlm::client::Engine engine(kModel, options);
    return json::parse(engine.generate(request.dump()))["stats"];
  };
  const json chosen = stats("{}");
  EXPECT_EQ(chosen["decoder"], "auto");
  EXPECT_EQ(chosen["draft_precision"], "same") << "the model is small";
  EXPECT_EQ(chosen["draft_bytes"], 0);
  const json told = stats(R"({"draft_precision": "int4"})");
  EXPECT_EQ(told["draft_precision"], "int4");
  EXPECT_GT(told["draft_bytes"], 1'000'000);
  EXPECT_EQ(told["weight_bytes"], chosen["weight_bytes"]);
}

TEST(Api, StopsWhenTheCallerSaysSo) {
  dvlm::client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame{rgb.data(), 224, 224};
  const json answer = json::parse(engine.generate(question("Describe the picture.", "ar").dump(), {&frame, 1},
                                                  [](std::string_view) { return false; }));
  EXPECT_EQ(answer["finish_reason"], "cancelled");
}

TEST(Api, TellsOfItsWorkAndStopsThere) {
  dvlm::client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame{rgb.data(), 224, 224};
  const std::string request = question("Describe the picture.", "spec").dump();
  std::map<std::string, int64_t> left;  // at the end of each stage
  engine.listen([&](std::string_view stage, int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    left[std::string(stage)] = total - done;
    return true;
  });
  engine.generate(request, {&frame, 1});
  EXPECT_EQ(left, (std::map<std::string, int64_t>{{"picture", 0}, {"prompt", 0}}));

  dvlm::client::Engine stopped(kModel);
  stopped.listen([&](std::string_view, int64_t, int64_t) { return false; });
  EXPECT_EQ(json::parse(stopped.generate(request, {&frame, 1}))["finish_reason"], "cancelled");
  stopped.listen({});
  EXPECT_NE(json::parse(stopped.generate(request, {&frame, 1}))["finish_reason"], "cancelled");
}

TEST(Api, SaysWhatIsWrong) {
  const auto message = [](const auto& call) {
    try {
      call();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_NE(message([] { dvlm::client::Engine engine("/no/such/folder"); }).find("no model folder"),
            std::string::npos);
  EXPECT_NE(message([] { dvlm::client::Engine engine(kModel, R"({"speed":9})"); }).find("speed"),
            std::string::npos);
  EXPECT_NE(
      message([] { dvlm::client::Engine engine(kModel, R"({"draft_precision":"int3"})"); }).find("int3"),
      std::string::npos);
  EXPECT_NE(message([] { dvlm::client::Engine engine(kModel, R"({"device":"abacus"})"); }).find("abacus"),
            std::string::npos);
  EXPECT_EQ(message([] { dvlm::client::Engine engine(kModel, R"({"device":"cpu"})"); }), "");
  dvlm::client::Engine engine(kModel);
  EXPECT_NE(message([&] { engine.generate("{"); }).find("not valid JSON"), std::string::npos);
  EXPECT_NE(message([&] { engine.generate(R"({"messages":[],"speed":9})"); }).find("speed"),
            std::string::npos);
  EXPECT_NE(message([&] { engine.generate(question("hi", "fast").dump()); }).find("fast"), std::string::npos);
  const dvlm_frame empty{nullptr, 224, 224};
  EXPECT_NE(message([&] {
              engine.generate(question("hi", "ar").dump(), {&empty, 1});
            }).find("frame 0"),
            std::string::npos);
}

}  // namespace
