#include "server/apis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/error.h"

namespace dvlm {
namespace {

using nlohmann::json;

ApiRequest parsed(const std::string& fields) {
  static const Tokenizer tokenizer(std::string(DVLM_MODELS) + "/dvlm-tiny");
  ModelConfig config;
  config.block_size = 32;
  config.text.vocab_size = 1000;
  return parse_chat_request(json::parse(R"({"messages": [{"role": "user", "content": "Hello"}])" +
                                        (fields.empty() ? "" : ", " + fields) + "}"),
                            config, tokenizer, {.max_tokens = 100});
}

std::string refusal(const std::string& fields) {
  try {
    parsed(fields);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(ChatRequests, have_defaults) {
  const ApiRequest chat = parsed("");
  EXPECT_EQ(chat.request.decode.kind, DecoderKind::automatic);
  EXPECT_EQ(chat.request.decode.block_size, 32);
  EXPECT_EQ(chat.request.decode.max_tokens, 100);
  EXPECT_EQ(chat.request.decode.sampling.temperature, 0);
  EXPECT_FALSE(chat.stream);
  EXPECT_TRUE(chat.request.stop.empty());
}

TEST(ChatRequests, say_what_logits_lose) {
  const SamplingOptions sampling =
      parsed(
          R"("presence_penalty": -1, "frequency_penalty": 0.5, "repetition_penalty": 1.2, "logit_bias": {"7": -5, "0": 2})")
          .request.decode.sampling;
  EXPECT_EQ(sampling.presence_penalty, -1);
  EXPECT_EQ(sampling.frequency_penalty, 0.5);
  EXPECT_EQ(sampling.repetition_penalty, 1.2);
  EXPECT_THAT(sampling.logit_bias, testing::UnorderedElementsAre(std::pair(7, -5.0F), std::pair(0, 2.0F)));
  EXPECT_FALSE(parsed("").request.decode.sampling.changes_logits());
}

TEST(ChatRequests, say_what_and_how) {
  const ApiRequest chat = parsed(
      R"("max_completion_tokens": 7, "temperature": 0.5, "top_p": 0.9, "seed": -3, "stop": ["a", "b"], "stream": true,
      "stream_options": {"include_usage": true}, "n": 1, "logprobs": false, "user": "someone", "tools": [],
      "dvlm": {"decoder": "fused", "block_size": 8, "branches": 2, "draft_p_min": 0.25, "top_k": 5, "max_pixels": 100000})");
  const DecodeOptions& decode = chat.request.decode;
  EXPECT_EQ(decode.max_tokens, 7);
  EXPECT_EQ(decode.sampling.temperature, 0.5);
  EXPECT_EQ(decode.sampling.top_p, 0.9);
  EXPECT_EQ(decode.sampling.seed, static_cast<uint64_t>(-3));
  EXPECT_EQ(decode.sampling.top_k, 5);
  EXPECT_EQ(decode.kind, DecoderKind::fused);
  EXPECT_EQ(decode.block_size, 8);
  EXPECT_EQ(decode.branches, 2);
  EXPECT_EQ(decode.draft_p_min, 0.25);
  EXPECT_EQ(chat.request.max_pixels, 100000);
  EXPECT_EQ(chat.request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(chat.stream && chat.include_usage);
}

TEST(ChatRequests, ask_for_choices_and_probabilities) {
  const ApiRequest chat = parsed(
      R"("n": 3, "logprobs": true, "top_logprobs": 4, "top_k": -1, "stream": true, "dvlm": {"passes": true})");
  EXPECT_EQ(chat.choices, 3);
  EXPECT_EQ(chat.request.decode.logprobs, 4);
  EXPECT_EQ(chat.request.decode.sampling.top_k, 0);
  EXPECT_TRUE(chat.request.decode.record);
  EXPECT_EQ(parsed(R"("logprobs": true)").request.decode.logprobs, 0);
  EXPECT_EQ(parsed(R"("top_logprobs": 0)").request.decode.logprobs, -1);
  EXPECT_EQ(parsed(R"("top_k": 9)").request.decode.sampling.top_k, 9);
}

TEST(ChatRequests, pass_over_what_changes_nothing) {
  for (const char* field :
       {R"("parallel_tool_calls": true)", R"("parallel_tool_calls": false)", R"("service_tier": "default")",
        R"("service_tier": "auto")", R"("modalities": ["text"])", R"("prompt_cache_key": "x")",
        R"("safety_identifier": "x")", R"("tool_choice": "auto")", R"("tool_choice": "none")",
        R"("functions": [])", R"("function_call": "auto")", R"("store": false)", R"("metadata": {"a": "b"})",
        R"("logit_bias": {})", R"("presence_penalty": 0.0)", R"("response_format": {"type": "text"})",
        R"("audio": null)", R"("colour": null)",
        R"("stream": true, "stream_options": {"include_obfuscation": false})"})
    EXPECT_EQ(refusal(field), "") << field;
}

TEST(ChatRequests, name_the_field_that_is_wrong) {
  for (const auto& [fields, name] : std::vector<std::pair<std::string, std::string>>{
           {R"("temperature": 9)", "temperature"},
           {R"("temperatur": 1)", "temperatur"},
           {R"("top_p": 0)", "top_p"},
           {R"("stop": [""])", "stop"},
           {R"("n": 99)", "n"},
           {R"("seed": 9223372036854775808)", "seed"},
           {R"("seed": 1e19)", "seed"},
           {R"("max_completion_tokens": -1)", "max_completion_tokens"},
           {R"("messages": [{"role": "king", "content": "x"}])", "messages"},
           {R"("top_logprobs": 2)", "top_logprobs"},
           {R"("modalities": ["text", "audio"])", "modalities"},
           {R"("prediction": {"type": "content", "content": "x"})", "prediction"},
           {R"("service_tier": "flex")", "service_tier"},
           {R"("tools": [{"type": "function"}])", "tools"},
           {R"("tool_choice": "required")", "tool_choice"},
           {R"("user": 5)", "user"},
           {R"("logprobs": true, "dvlm": {"decoder": "mdm"})", "logprobs"},
           {R"("stream_options": {})", "stream_options"},
           {R"("stream": true, "stream_options": {"include_usage": 1})", "stream_options.include_usage"},
           {R"("stream": true, "stream_options": {"x": 1})", "stream_options.x"},
           {R"("dvlm": 3)", "dvlm"},
           {R"("dvlm": {"speed": 9})", "dvlm.speed"},
           {R"("dvlm": {"branches": 2, "decoder": "warp"})", "dvlm.decoder"},
           {R"("dvlm": {"block_size": 1})", "dvlm.block_size"},
           {R"("dvlm": {"passes": true})", "dvlm.passes"},
           {R"("stream": true, "dvlm": {"progress": 1})", "dvlm.progress"},
           {R"("dvlm": {"progress": true})", "dvlm.progress"}}) {
    try {
      parsed(fields);
      ADD_FAILURE() << fields;
    } catch (const FieldError& error) {
      EXPECT_EQ(error.field(), name) << fields;
    }
  }
}

TEST(ChatRequests, refuse_what_they_would_ignore) {
  for (
      const auto& [fields, word] : std::vector<std::pair<std::string, std::string>>{
          {R"("n": 0)", "\"n\""},
          {R"("n": 17)", "\"n\""},
          {R"("logprobs": true, "dvlm": {"decoder": "mdm"})", "mdm"},
          {R"("logprobs": true, "top_logprobs": 21)", "top_logprobs"},
          {R"("top_logprobs": 2)", "needs \"logprobs\""},
          {R"("top_k": 5, "dvlm": {"top_k": 5})", "top_k"},
          {R"("top_k": -2)", "top_k"},
          {R"("dvlm": {"passes": true})", "needs \"stream\""},
          {R"("dvlm": {"progress": true})", "needs \"stream\""},
          {R"("min_p": 0.1)", "min_p"},
          {R"("response_format": {"type": "xml"})", "json_schema"},
          {R"("response_format": {"type": "json_schema"})", "json_schema"},
          {R"("response_format": {"type": "json_schema", "json_schema": {"name": "x"}})", "schema"},
          {R"("response_format": {"type": "json_schema", "json_schema": {"schema": {}, "speed": 1}})",
           "speed"},
          {R"("response_format": {"type": "json_object"}, "dvlm": {"decoder": "mdm"})", "mdm"},
          {R"("response_format": {"type": "json_object"}, "structured_outputs": {"regex": "a"})", "second"},
          {R"("structured_outputs": {"regex": "a", "grammar": "b"})", "second"},
          {R"("structured_outputs": {"choice": []})", "choice"},
          {R"("structured_outputs": {"choice": [1]})", "choice"},
          {R"("structured_outputs": {"regex": 1})", "regex"},
          {R"("structured_outputs": {"whitespace_pattern": " "})", "json_spaces"},
          {R"("dvlm": {"json_spaces": "none"})", "json_spaces"},
          {R"("dvlm": {"json_spaces": "wide"}, "response_format": {"type": "json_object"})", "wide"},
          {R"("tools": [{"type": "function"}])", "tool 1"},
          {R"("tools": [{"type": "function", "function": {"name": "a b"}}])", "name"},
          {R"("tools": [{"type": "function", "function": {"name": "a"}}, {"type": "function", "function": {"name": "a"}}])",
           "another a"},
          {R"("tools": [{"type": "function", "function": {"name": "a", "speed": 1}}])", "speed"},
          {R"("tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": "b")",
           "tool_choice"},
          {R"("tools": [{"type": "function", "function": {"name": "a"}}], "tool_choice": {"type": "function", "function": {"name": "b"}})",
           "no tool b"},
          {R"("tools": [{"type": "function", "function": {"name": "a"}}], "dvlm": {"decoder": "mdm"})",
           "mdm"},
          {R"("tools": [{"type": "function", "function": {"name": "a"}}], "response_format": {"type": "json_object"})",
           "second"},
          {R"("tool_choice": "required")", "needs \"tools\""},
          {R"("presence_penalty": 2.5)", "presence_penalty"},
          {R"("frequency_penalty": -3)", "frequency_penalty"},
          {R"("repetition_penalty": 0)", "repetition_penalty"},
          {R"("logit_bias": {"a": 1})", "no token id"},
          {R"("logit_bias": {"01": 1})", "no token id"},
          {R"("logit_bias": {"-1": 1})", "no token id"},
          {R"("logit_bias": {"99999999": 1})", "no token id"},
          {R"("logit_bias": {"3": 101})", "-100 to 100"},
          {R"("logit_bias": {"3": "a"})", "-100 to 100"},
          {R"("logit_bias": [3])", "logit_bias"},
          {R"("presence_penalty": 1, "dvlm": {"decoder": "mdm"})", "not supported with the decoder \"mdm\""},
          {R"("colour": "red")", "colour"},
          {R"("dvlm": {"speed": 9})", "speed"},
          {R"("dvlm": {"decoder": "warp"})", "warp"},
          {R"("dvlm": 3)", "dvlm"},
          {R"("max_tokens": -1)", "max_tokens"},
          {R"("max_tokens": 101)", "max_tokens"},
          {R"("max_tokens": "many")", "max_tokens"},
          {R"("temperature": -1)", "temperature"},
          {R"("temperature": 1e400)", ""},
          {R"("stop": [""])", "stop"},
          {R"("stop": 5)", "stop"},
          {R"("stream_options": {"include_usage": true})", "stream_options"},
          {R"("messages": [])", "messages"},
      }) {
    if (word.empty()) {
      EXPECT_ANY_THROW(parsed(fields)) << fields;
    } else {
      EXPECT_THAT(refusal(fields), testing::HasSubstr(word)) << fields;
    }
  }
}

}  // namespace
}  // namespace dvlm
