// libdvlm as a program sees it: only its own headers, frames in memory, JSON in and out.
#include <gtest/gtest.h>
#include <dvlm/dvlm.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using nlohmann::json;
namespace client = dvlm::client;

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
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
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
  client::Engine engine(kModel);
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
    client::Engine engine(kModel, options);
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

// An answer that is long under way: of `tokens` tokens.
json long_question(int tokens) {
  json out = question("Describe the picture.", "ar");
  out["regex"] = "[a-z ]{9000}", out["max_tokens"] = tokens;
  return out;
}

TEST(Api, StopsWhenTheCallerSaysSo) {
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
  const json answer = json::parse(
      engine.generate(long_question(900).dump(), {&frame, 1}, [](std::string_view) { return false; }));
  EXPECT_EQ(answer["finish_reason"], "cancelled");
}

TEST(Api, TellsOfItsWorkAndStopsThere) {
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
  std::map<std::string, int64_t> left;  // at the end of each stage
  const auto listen = [&](std::string_view stage, int64_t done, int64_t total) {
    EXPECT_LE(done, total);
    left[std::string(stage)] = total - done;
    return true;
  };
  engine.generate(question("Describe the picture.", "spec").dump(), {&frame, 1}, {}, listen);
  EXPECT_EQ(left, (std::map<std::string, int64_t>{{"picture", 0}, {"prompt", 0}}));

  client::Engine stopped(kModel);
  const auto stop = [](std::string_view, int64_t, int64_t) { return false; };
  const std::string request = long_question(900).dump();
  EXPECT_EQ(json::parse(stopped.generate(request, {&frame, 1}, {}, stop))["finish_reason"], "cancelled");
  EXPECT_EQ(json::parse(stopped.generate(request, {&frame, 1}))["finish_reason"], "length");
}

std::string text_of(client::Answer& answer) {
  std::string out;
  for (bool ended = false; !ended;)
    if (const auto update = answer.wait()) out += update->text, ended = update->ended;
  return out;
}

TEST(Api, AnswersOfSeveralAreUnderWayTogether) {
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
  const std::string request = question("Describe the picture.", "spec").dump();
  const json alone = json::parse(engine.generate(request, {&frame, 1}));
  std::vector<client::Answer> answers;
  for (int i = 0; i < 12; ++i) answers.push_back(engine.submit(request, {&frame, 1}));
  for (client::Answer& answer : answers) {
    EXPECT_EQ(text_of(answer), alone["text"]);
    EXPECT_EQ(json::parse(answer.result())["tokens"], alone["tokens"]);
  }
  client::Answer given_up = engine.submit(long_question(900).dump(), {&frame, 1});
  EXPECT_THROW(given_up.result(), std::runtime_error) << "it has not ended";
  given_up.cancel();
  text_of(given_up);
  EXPECT_EQ(json::parse(given_up.result())["finish_reason"], "cancelled");
}

TEST(Api, AnswersOutliveTheirEngine) {
  auto engine = std::make_unique<client::Engine>(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
  json request = long_question(900);
  request["passes"] = true;
  client::Answer running = engine->submit(request.dump(), {&frame, 1});
  std::vector<client::Answer> waiting;
  for (int i = 0; i < 10; ++i) waiting.push_back(engine->submit(request.dump(), {&frame, 1}));
  engine.reset();
  text_of(running);
  EXPECT_EQ(json::parse(running.result())["finish_reason"], "cancelled");
  text_of(waiting.back());
  EXPECT_EQ(json::parse(waiting.back().result())["finish_reason"], "cancelled");
}

TEST(Api, ShowsItsPasses) {
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame frame = client::frame(rgb.data(), 224, 224);
  json request = question("Describe the picture.", "spec");
  EXPECT_FALSE(json::parse(engine.generate(request.dump(), {&frame, 1})).contains("passes"));
  request["passes"] = true;
  const json answer = json::parse(engine.generate(request.dump(), {&frame, 1}));
  size_t emitted = 0;
  for (const json& pass : answer["passes"]) emitted += pass["emitted"].get<size_t>();
  EXPECT_EQ(emitted, answer["tokens"].size());
  EXPECT_EQ(answer["passes"].back()["kind"], "verify");
}

TEST(Api, EndsAtStopStrings) {
  client::Engine engine(kModel);
  json request = {{"messages", {{{"role", "user"}, {"content", "Hello"}}}}, {"max_tokens", 60}};
  request["regex"] = "abc and def";
  EXPECT_EQ(json::parse(engine.generate(request.dump()))["text"], "abc and def");
  request["stop"] = {"xyz", " and"};
  EXPECT_EQ(json::parse(engine.generate(request.dump()))["text"], "abc");
  request["stop"] = " def";
  EXPECT_EQ(json::parse(engine.generate(request.dump()))["text"], "abc and");
  for (const json& bad : {json(""), json(1), json({""}), json({1})}) {
    request["stop"] = bad;
    EXPECT_THROW(engine.generate(request.dump()), std::runtime_error) << bad;
  }
}

// The same picture in all of them.
TEST(Api, TakesTheFramesOfCameras) {
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  constexpr int kStride = 1000;
  std::vector<uint8_t> bgr(size_t{224} * kStride, 77), rgba;
  for (size_t y = 0; y < 224; ++y)
    for (size_t x = 0; x < 224; ++x) {
      const uint8_t* in = &rgb[3 * (y * 224 + x)];
      std::reverse_copy(in, in + 3, &bgr[y * kStride + 3 * x]);
      rgba.insert(rgba.end(), {in[0], in[1], in[2], 255});
    }
  const std::string ppm = "P6 224 224 255\n" + std::string(rgb.begin(), rgb.end());
  const auto answer = [&](const dvlm_frame& frame) {
    return json::parse(
        engine.generate(question("Describe the picture.", "spec").dump(), {&frame, 1}))["tokens"];
  };
  const json expected = answer(client::frame(rgb.data(), 224, 224));
  EXPECT_EQ(answer(client::frame(bgr.data(), 224, 224, DVLM_BGR, kStride)), expected);
  EXPECT_EQ(answer(client::frame(rgba.data(), 224, 224, DVLM_RGBA)), expected);
  EXPECT_EQ(answer(client::picture_file({reinterpret_cast<const uint8_t*>(ppm.data()), ppm.size()})),
            expected);
}

// Programs that were compiled with another version.
TEST(Api, StructuresOfOtherVersions) {
  struct Newer {
    dvlm_frame frame;
    uint64_t more = 0;
  };
  client::Engine engine(kModel);
  const std::vector<uint8_t> rgb = disc(224);
  Newer frames[2] = {{client::frame(rgb.data(), 224, 224)}, {client::frame(rgb.data(), 224, 224)}};
  for (Newer& frame : frames) frame.frame.size = sizeof(Newer);
  json request = question("Describe the picture.", "spec");
  request["messages"][0]["content"].push_back({{"type", "image"}, {"image", "frame:1"}});
  EXPECT_EQ(json::parse(engine.generate(request.dump(), {&frames[0].frame, 2}))["images"].size(), 2);
  frames[1].more = 1;
  EXPECT_THROW(engine.generate(request.dump(), {&frames[0].frame, 2}), std::runtime_error);
  frames[0].frame.size = 0;
  EXPECT_THROW(engine.generate(request.dump(), {&frames[0].frame, 2}), std::runtime_error);
  dvlm_update unset = {};
  EXPECT_EQ(dvlm_wait(nullptr, 0, &unset), -1);
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
  EXPECT_NE(message([] { client::Engine engine("/no/such/folder"); }).find("no model folder"),
            std::string::npos);
  EXPECT_NE(message([] { client::Engine engine(kModel, R"({"speed":9})"); }).find("speed"),
            std::string::npos);
  EXPECT_NE(message([] { client::Engine engine(kModel, R"({"draft_precision":"int3"})"); }).find("int3"),
            std::string::npos);
  EXPECT_NE(message([] { client::Engine engine(kModel, R"({"device":"abacus"})"); }).find("abacus"),
            std::string::npos);
  EXPECT_EQ(message([] { client::Engine engine(kModel, R"({"device":"cpu"})"); }), "");
  client::Engine engine(kModel);
  EXPECT_NE(message([&] { engine.generate("{"); }).find("not valid JSON"), std::string::npos);
  EXPECT_NE(message([&] { engine.generate(R"({"messages":[],"speed":9})"); }).find("speed"),
            std::string::npos);
  EXPECT_NE(message([&] { engine.generate(question("hi", "fast").dump()); }).find("fast"), std::string::npos);
  const std::vector<uint8_t> rgb = disc(224);
  const dvlm_frame bad[] = {client::frame(nullptr, 224, 224), client::frame(rgb.data(), 0, 224),
                            client::frame(rgb.data(), 224, 224, DVLM_RGB, 671),
                            client::frame(rgb.data(), 224, 224, 99), client::picture_file({rgb.data(), 100})};
  for (const dvlm_frame& frame : bad)
    EXPECT_EQ(message([&] {
                engine.generate(question("hi", "ar").dump(), {&frame, 1});
              }).find("frame:0"),
              0u);
}

}  // namespace
