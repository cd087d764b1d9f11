// What the APIs write, from values made by hand.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <limits>

#include "server/apis.h"
#include "server/errors.h"
#include "server/metrics.h"
#include "server/request_log.h"

namespace dvlm {
namespace {

using nlohmann::json;

class Formats : public testing::Test {
 protected:
  static const Tokenizer& tokenizer() {
    static const Tokenizer tokenizer(std::string(DVLM_MODELS) + "/dvlm-tiny");
    return tokenizer;
  }
  static TokenId id_of(const std::string& text) {
    const auto ids = tokenizer().encode(text, ControlTokens::parse);
    EXPECT_EQ(ids.size(), 1) << text;
    return ids.at(0);
  }
  // The token that is the first byte of a character alone.
  static TokenId half_character() {
    for (TokenId id = 0; id < tokenizer().size(); ++id)
      if (tokenizer().bytes_of(id) == "\xF0") return id;
    ADD_FAILURE() << "no such token";
    return 0;
  }
  static FormatOptions options(int logprobs = 1) {
    ApiRequest asked;
    asked.request.decode.logprobs = logprobs;
    return format_options({"id-1", "model", 5}, asked,
                          TokenWriter(tokenizer(), tokenizer().find(kMaskToken)));
  }
  static std::vector<TokenLogprob> logprobs() {
    return {{.token = id_of("The"), .logprob = -0.5F, .top = {{id_of("The"), -0.5F}, {id_of("A"), -1.5F}}},
            {.token = half_character(),
             .logprob = -std::numeric_limits<float>::infinity(),
             .top = {{id_of("A"), -0.25F}}}};
  }
  static Answer answer() {
    Answer out;
    out.text = "The";
    out.tokens = {id_of("The"), half_character(), id_of("<|im_end|>")};
    out.logprobs = logprobs();
    out.stop_logprob = {.token = id_of("<|im_end|>"), .logprob = -2, .top = {{id_of("<|im_end|>"), -2.0F}}};
    out.finish = FinishReason::stop;
    out.prompt_tokens = 7;
    out.reused_tokens = 2;
    return out;
  }
};

TEST_F(Formats, chat_probabilities) {
  const json content =
      chat_logprobs(logprobs(), TokenWriter(tokenizer(), tokenizer().find(kMaskToken)))["content"];
  ASSERT_EQ(content.size(), 2);
  EXPECT_EQ(content[0]["token"], "The");
  EXPECT_EQ(content[0]["logprob"], -0.5);
  EXPECT_EQ(content[0]["bytes"], json({'T', 'h', 'e'}));
  EXPECT_EQ(content[0]["top_logprobs"][1], json({{"token", "A"}, {"logprob", -1.5}, {"bytes", {65}}}));
  EXPECT_EQ(content[1]["token"], "\xEF\xBF\xBD");
  EXPECT_EQ(content[1]["bytes"], json::array({0xF0}));
  EXPECT_EQ(content[1]["logprob"], -9999.0);
}

TEST_F(Formats, completion_probabilities) {
  int64_t offset = 10;
  const json out =
      completion_logprobs(logprobs(), TokenWriter(tokenizer(), tokenizer().find(kMaskToken)), offset);
  EXPECT_EQ(out["tokens"], json({"The", "\xEF\xBF\xBD"}));
  EXPECT_EQ(out["token_logprobs"], json({-0.5, -9999.0}));
  EXPECT_EQ(out["top_logprobs"][0], json({{"The", -0.5}, {"A", -1.5}}));
  EXPECT_EQ(out["top_logprobs"][1], json({{"A", -0.25}, {"\xEF\xBF\xBD", -9999.0}}))
      << "the chosen one is never missing";
  EXPECT_EQ(out["text_offset"], json({10, 13}));
  EXPECT_EQ(offset, 14);
}

TEST_F(Formats, passes) {
  const PassRecord draft{.kind = PassKind::draft,
                         .rows = 3,
                         .block = {id_of("The"), *tokenizer().find(kMaskToken), half_character()},
                         .accepted = 0,
                         .emitted = 0};
  const PassRecord prefill{.kind = PassKind::prefill, .rows = 70, .block = {}, .accepted = 0, .emitted = 1};
  const json out =
      passes_json(std::vector{prefill, draft}, TokenWriter(tokenizer(), tokenizer().find(kMaskToken)));
  EXPECT_EQ(
      out[0],
      json({{"kind", "prefill"}, {"rows", 70}, {"block", json::array()}, {"accepted", 0}, {"emitted", 1}}));
  EXPECT_EQ(out[1]["kind"], "draft");
  EXPECT_EQ(out[1]["block"], json({"The", nullptr, "\xEF\xBF\xBD"}));
}

TEST_F(Formats, chat_chunks) {
  const auto format = chat_format(options());
  EXPECT_EQ(format->begin(1)["choices"][0]["index"], 1);
  EXPECT_EQ(format->begin(1)["choices"][0]["delta"]["role"], "assistant");
  EXPECT_TRUE(format->piece(0, {}).is_null());
  RequestHandle::Update update;
  update.logprobs = logprobs();
  const json silent = format->piece(2, update);
  EXPECT_EQ(silent["choices"][0]["delta"], json({{"content", ""}})) << "a token may be half a character";
  EXPECT_EQ(silent["choices"][0]["logprobs"]["content"].size(), 2);
  update = {};
  update.passes.push_back({.kind = PassKind::verify, .rows = 8, .block = {}, .accepted = 3, .emitted = 3});
  const json pass = format->piece(0, update);
  EXPECT_EQ(pass["choices"][0]["delta"], json::object());
  EXPECT_EQ(pass["dvlm"]["passes"][0]["accepted"], 3);
  update = {};
  update.progress = {WorkProgress{.stage = Stage::picture, .done = 3, .total = 32, .picture = 2}};
  const json work = format->piece(0, update);
  EXPECT_EQ(work["choices"][0]["delta"], json::object());
  EXPECT_EQ(work["dvlm"],
            json({{"progress", {{"stage", "picture"}, {"done", 3}, {"total", 32}, {"picture", 2}}}}));
  EXPECT_EQ(format->end(0, answer())["choices"][0]["finish_reason"], "stop");
  const Answer one = answer();
  const Answer* const all[] = {&one, &one};
  EXPECT_TRUE(format->last(all).is_null());
  const json whole = format->whole(all);
  EXPECT_EQ(whole["usage"]["prompt_tokens"], 7);
  EXPECT_EQ(whole["usage"]["completion_tokens"], 6);
  EXPECT_EQ(whole["usage"]["total_tokens"], 13);
  EXPECT_EQ(whole["choices"][1]["index"], 1);
  EXPECT_EQ(whole["choices"][1]["logprobs"]["content"].size(), 2);
}

TEST_F(Formats, completion_chunks_count_characters_of_each_choice) {
  const auto format = completion_format(options());
  RequestHandle::Update update;
  update.logprobs = logprobs();
  EXPECT_EQ(format->piece(0, update)["choices"][0]["logprobs"]["text_offset"][0], 0);
  EXPECT_EQ(format->piece(1, update)["choices"][0]["logprobs"]["text_offset"][0], 0);
  EXPECT_EQ(format->piece(0, update)["choices"][0]["logprobs"]["text_offset"][0], 4);
}

TEST_F(Formats, sglang_probabilities) {
  FormatOptions given = options(2);
  given.token_texts = true;
  const auto format = generate_format(std::move(given));
  const json meta = format->end(0, answer())["meta_info"];
  EXPECT_EQ(meta["output_token_logprobs"][0], json::array({-0.5, id_of("The"), "The"}));
  EXPECT_EQ(meta["output_top_logprobs"][0][1], json::array({-1.5, id_of("A"), "A"}));
  EXPECT_EQ(meta["output_token_logprobs"][2], json::array({-2, id_of("<|im_end|>"), "<|im_end|>"}));
  EXPECT_EQ(meta["output_top_logprobs"].size(), 3);
  EXPECT_EQ(meta["cached_tokens"], 2);
  EXPECT_EQ(meta["finish_reason"], json({{"type", "stop"}, {"matched", id_of("<|im_end|>")}}));
}

TEST_F(Formats, log_lines_are_safe) {
  RequestRecord record;
  record.id = "a";
  record.method = "POST";
  record.path = std::string("/x\n\xFF\"") + std::string(1000, 'p');
  record.status = 400;
  const std::string line = log_line(record, 1.23456, std::chrono::system_clock::time_point{});
  EXPECT_EQ(std::count(line.begin(), line.end(), '\n'), 1);
  const json parsed = json::parse(line);
  EXPECT_EQ(parsed["time"], "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(parsed["total_ms"], 1.235);
  EXPECT_LT(parsed["path"].get<std::string>().size(), 300);
  EXPECT_FALSE(parsed.contains("prompt"));
}

TEST_F(Formats, histograms_add_up) {
  Histogram histogram({1, 2});
  for (const double value : {0.5, 1.0, 1.5, 9.0}) histogram.add(value);
  PrometheusText out;
  histogram.write(out, "x", "What it is");
  EXPECT_EQ(out.take(),
            "# HELP dvlm_x What it is\n# TYPE dvlm_x histogram\ndvlm_x_bucket{le=\"1\"} 2\n"
            "dvlm_x_bucket{le=\"2\"} 3\ndvlm_x_bucket{le=\"+Inf\"} 4\ndvlm_x_sum 12\ndvlm_x_count 4\n");
}

}  // namespace
}  // namespace dvlm
