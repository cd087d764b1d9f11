// Every address of the server, as its clients use it.
#include <fmt/format.h>

#include <set>

#include "served.h"

namespace dvlm {
namespace {

class Apis : public Served {
 protected:
  static constexpr const char* kAsked =
      "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
      "<|im_start|>assistant\n";
};

TEST_F(Apis, choices_are_those_of_their_seeds) {
  start();
  json body = picture_question("Describe the picture.");
  body["temperature"] = 1.3;
  std::vector<std::string> alone;
  size_t tokens = 0;
  for (int i = 0; i < 3; ++i) {
    body["seed"] = 40 + i;
    const json answer = post(body);
    alone.push_back(text_of(answer));
    tokens += answer["usage"]["completion_tokens"].get<size_t>();
  }
  body["seed"] = 40;
  body["n"] = 3;
  const json together = post(body);
  ASSERT_EQ(together["choices"].size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(together["choices"][i]["index"], i);
    EXPECT_EQ(together["choices"][i]["message"]["content"], alone[i]);
  }
  EXPECT_EQ(together["usage"]["completion_tokens"], tokens);
  EXPECT_EQ(together["dvlm"]["choices"].size(), 3);

  body["stream_options"] = {{"include_usage", true}};
  std::vector<std::string> streamed(3);
  int ends = 0;
  const std::vector<json> events = post_streamed(body);
  for (const json& event : events) {
    if (event["choices"].empty()) continue;
    const json& choice = event["choices"][0];
    streamed[choice["index"].get<size_t>()] += choice["delta"].value("content", "");
    ends += !choice["finish_reason"].is_null();
  }
  EXPECT_EQ(streamed, alone);
  EXPECT_EQ(ends, 3);
  EXPECT_EQ(events.back()["usage"], together["usage"]);
}

TEST_F(Apis, more_choices_than_may_wait_are_refused) {
  ServerOptions options;
  options.scheduler.max_waiting = 2;
  options.body_limit = 1000;
  start(options);
  json body = question("Hello");
  body["n"] = 3;
  EXPECT_THAT(message(body), testing::HasSubstr("\"n\""));
  body["n"] = 2;
  body["user"] = std::string(700, 'x');
  EXPECT_THAT(message(body, 413), testing::HasSubstr("2 choices"));
}

TEST_F(Apis, completions_go_on_after_a_raw_prompt) {
  start();
  const std::string path = "/v1/completions";
  json chat = question("Hello");
  const std::string expected = text_of(post(chat));
  const json body = {{"prompt", kAsked}, {"max_tokens", 40}};
  const json answer = post(body, 200, path);
  EXPECT_EQ(answer["object"], "text_completion");
  EXPECT_EQ(answer["choices"][0]["text"], expected) << "the prompt is the template's text";
  EXPECT_EQ(answer["choices"][0]["logprobs"], nullptr);

  const json tokens = post({{"prompt", kAsked}}, 200, "/tokenize")["tokens"];
  EXPECT_EQ(answer["usage"]["prompt_tokens"], tokens.size());
  for (const json& prompt : {tokens, json::array({tokens}), json::array({kAsked})})
    EXPECT_EQ(post({{"prompt", prompt}, {"max_tokens", 40}}, 200, path)["choices"][0]["text"], expected);
  EXPECT_EQ(post({{"prompt", tokens}, {"max_tokens", 40}, {"echo", true}}, 200, path)["choices"][0]["text"],
            kAsked + expected);
  EXPECT_LE(post({{"prompt", kAsked}}, 200, path)["usage"]["completion_tokens"], 16);

  json streamed_body = body;
  streamed_body["echo"] = true;
  streamed_body["n"] = 2;
  streamed_body["stream_options"] = {{"include_usage", true}};
  std::string streamed[2];
  const std::vector<json> events = post_streamed(streamed_body, path);
  for (const json& event : events)
    for (const json& choice : event["choices"])
      streamed[choice["index"].get<size_t>()] += choice.value("text", "");
  EXPECT_EQ(streamed[0], kAsked + expected);
  EXPECT_EQ(streamed[1], kAsked + expected);
  EXPECT_GT(events.back()["usage"]["completion_tokens"], 2);
}

TEST_F(Apis, completions_refuse_what_they_cannot_do) {
  start();
  for (const auto& [fields, word] : std::vector<std::pair<std::string, std::string>>{
           {R"({})", "prompt"},
           {R"({"prompt": ""})", "empty"},
           {R"({"prompt": []})", "empty"},
           {R"({"prompt": 5})", "prompt"},
           {R"({"prompt": ["a", "b"]})", "2 prompts"},
           {R"({"prompt": [-1]})", "item 0"},
           {R"({"prompt": [1, 99999999]})", "item 1"},
           {R"({"prompt": [1, "a"]})", "item 1"},
           {R"({"prompt": "<|vision_start|><|image_pad|><|vision_end|>"})", "pictures"},
           {R"({"prompt": "a", "suffix": "b"})", "suffix"},
           {R"({"prompt": "a", "best_of": 3})", "best_of"},
           {R"({"prompt": "a", "logprobs": 1, "dvlm": {"decoder": "mdm"}})", "mdm"},
           {R"({"prompt": "a", "logprobs": 1, "echo": true})", "echo"},
           {R"({"prompt": "a", "logprobs": 21})", "logprobs"},
           {R"({"prompt": "a", "max_tokens": -1})", "max_tokens"},
           {R"({"prompt": "a", "messages": []})", "messages"}})
    EXPECT_THAT(message(json::parse(fields), 400, "/v1/completions"), testing::HasSubstr(word)) << fields;
}

TEST_F(Apis, texts_become_tokens_and_come_back) {
  start();
  const std::string text = "The hammer 🔨 is <|im_end|> at the top.";
  json body = {{"prompt", text}, {"return_token_strs", true}, {"add_special_tokens", true}};
  const json tokens = post(body, 200, "/tokenize");
  EXPECT_EQ(tokens["count"], tokens["tokens"].size());
  EXPECT_EQ(tokens["token_strs"].size(), tokens["tokens"].size());
  EXPECT_EQ(tokens["max_model_len"], engine().config().text.max_positions);
  EXPECT_EQ(post({{"tokens", tokens["tokens"]}}, 200, "/detokenize")["prompt"], text);

  const json asked = post(question("Hello"));
  body = {{"messages", question("Hello")["messages"]}};
  EXPECT_EQ(post(body, 200, "/tokenize")["count"], asked["usage"]["prompt_tokens"]);
  body = {{"messages", picture_question("Hello")["messages"]}};
  EXPECT_GT(post(body, 200, "/tokenize")["count"], 64) << "pads of pictures count";
  body = {{"messages", question("Hello")["messages"]}, {"add_generation_prompt", false}};
  EXPECT_LT(post(body, 200, "/tokenize")["count"], asked["usage"]["prompt_tokens"]);

  for (const char* wrong :
       {R"({})", R"({"prompt": 4})", R"({"prompt": "a", "messages": []})", R"({"prompt": "a", "x": 1})",
        R"({"messages": [{"role": "user", "content": [{"type": "image", "image": "/etc/passwd"}]}]})"})
    EXPECT_FALSE(message(json::parse(wrong), 400, "/tokenize").empty()) << wrong;
  for (const char* wrong :
       {R"({})", R"({"tokens": "a"})", R"({"tokens": [-1]})", R"({"tokens": [1e99]})", R"({"tokens": [[]]})"})
    EXPECT_FALSE(message(json::parse(wrong), 400, "/detokenize").empty()) << wrong;
}

TEST_F(Apis, generate_answers_as_sglang_does) {
  start();
  json body = {{"text", kAsked}, {"sampling_params", {{"max_new_tokens", 40}}}};
  const json answer = post(body, 200, "/generate");
  EXPECT_EQ(answer["text"], text_of(post(question("Hello"))));
  EXPECT_EQ(answer["meta_info"]["finish_reason"]["type"], "stop");
  EXPECT_EQ(answer["meta_info"]["finish_reason"]["matched"], answer["output_ids"].back());
  EXPECT_EQ(answer["meta_info"]["completion_tokens"], answer["output_ids"].size());

  const std::vector<json> events = post_streamed(body, "/generate");
  std::string before;
  for (const json& event : events) {
    EXPECT_TRUE(event["text"].get<std::string>().starts_with(before)) << "the whole text every time";
    before = event["text"];
  }
  EXPECT_EQ(events.back()["text"], answer["text"]);
  EXPECT_EQ(events.back()["output_ids"], answer["output_ids"]);

  body["sampling_params"] = {{"max_new_tokens", 2}};
  EXPECT_EQ(post(body, 200, "/generate")["meta_info"]["finish_reason"],
            json({{"type", "length"}, {"length", 2}}));
  const std::string stop = answer["text"].get<std::string>().substr(4, 5);
  body["sampling_params"] = {{"max_new_tokens", 40}, {"stop", stop}};
  EXPECT_EQ(post(body, 200, "/generate")["meta_info"]["finish_reason"]["matched"], stop);
}

TEST_F(Apis, generate_takes_pictures) {
  start();
  const json chat = picture_question("Where is the hammer?");
  const std::string url = chat["messages"][0]["content"][0]["image_url"]["url"];
  std::string text = kAsked;
  text.replace(text.find("Hello"), 5, "<|vision_start|><|image_pad|><|vision_end|>Where is the hammer?");
  json body = {{"text", text}, {"image_data", url}};
  const json answer = post(body, 200, "/generate");
  EXPECT_EQ(answer["text"], "The hammer is at the top left.");
  EXPECT_EQ(answer["meta_info"]["prompt_tokens"], post(chat)["usage"]["prompt_tokens"]);
  body = {{"input_ids", post({{"messages", chat["messages"]}}, 200, "/tokenize")["tokens"]},
          {"image_data", json::array({url})}};
  EXPECT_EQ(post(body, 200, "/generate")["text"], answer["text"]) << "pads that have their length already";

  body = {{"text", text}};
  EXPECT_THAT(message(body, 400, "/generate"), testing::HasSubstr("image_pad"));
  body = {{"text", kAsked}, {"image_data", url}};
  EXPECT_THAT(message(body, 400, "/generate"), testing::HasSubstr("image_pad"));
  body = {{"text", text}, {"image_data", "/etc/passwd"}};
  EXPECT_THAT(message(body, 400, "/generate"), testing::HasSubstr("data URL"));
  for (const char* wrong :
       {R"({})", R"({"text": "a", "input_ids": [1]})", R"({"text": ["a"]})", R"({"input_ids": [[1]]})",
        R"({"text": ""})", R"({"text": "a", "sampling_params": 5})", R"({"text": "a", "image_data": [5]})",
        R"({"text": "a", "sampling_params": {"max_tokens": 5}})",
        R"({"text": "a", "sampling_params": {"min_p": 0.5}})",
        R"({"text": "a", "sampling_params": {"n": 2}})", R"({"text": "a", "logprob_start_len": 0})"})
    EXPECT_FALSE(message(json::parse(wrong), 400, "/generate").empty()) << wrong;
}

TEST_F(Apis, every_address_is_described) {
  start();
  const std::string text = read_file(std::string(DVLM_MODELS) + "/../docs/openapi.yaml");
  size_t described = 0;
  for (size_t at = text.find("\n  /"); at != std::string::npos; at = text.find("\n  /", at + 1)) ++described;
  for (const std::string& route : server_->routes()) {
    const size_t space = route.find(' ');
    const size_t begin = text.find("\n  " + route.substr(space + 1) + ":\n");
    ASSERT_NE(begin, std::string::npos) << route;
    const std::string item = text.substr(begin + 1, text.find("\n  /", begin + 1) - begin);
    EXPECT_THAT(item, testing::HasSubstr(route[0] == 'G' ? "\n    get:\n" : "\n    post:\n")) << route;
  }
  EXPECT_EQ(described, server_->routes().size());
}

// What is written by hand beside the table of decoders.
TEST(Decoders, the_page_and_the_description_list_them) {
  const std::string root = std::string(DVLM_MODELS) + "/../";
  const std::string description = read_file(root + "docs/openapi.yaml"),
                    form = read_file(root + "web/index.html"), settings = read_file(root + "web/settings.js");
  const std::vector<std::string> names = decoder_names();
  EXPECT_THAT(description,
              testing::HasSubstr(fmt::format("decoder: {{enum: [{}], default: {}}}", fmt::join(names, ", "),
                                             name_of(DecodeOptions{}.kind))));
  const size_t begin = form.find("id=\"decoder\"");
  const std::string choice = form.substr(begin, form.find("</select>", begin) - begin);
  size_t offered = 0;
  for (size_t at = choice.find("<option"); at != std::string::npos; at = choice.find("<option", at + 1))
    ++offered;
  EXPECT_EQ(offered, names.size());
  for (const std::string& name : names) {
    EXPECT_THAT(choice, testing::HasSubstr("<option value=\"" + name + "\">"));
    EXPECT_THAT(settings, testing::HasSubstr("\n  " + name + ": \"")) << "its help";
  }
}

TEST_F(Apis, the_one_model_is_told) {
  start();
  const json list = json::parse(client_->Get("/v1/models")->body);
  ASSERT_EQ(list["data"].size(), 1);
  EXPECT_EQ(json::parse(client_->Get("/v1/models/dvlm-tiny")->body), list["data"][0]);
  EXPECT_EQ(client_->Get("/v1/models/other")->status, 404);
  EXPECT_EQ(client_->Get("/v1/models/")->status, 404);
}

// Until the engine fills them.
TEST_F(Apis, probabilities_are_told) {
  start();
  json body = picture_question("Where is the hammer?");
  body["logprobs"] = true;
  body["top_logprobs"] = 3;
  const json answer = post(body);
  std::string text;
  for (const json& token : answer["choices"][0]["logprobs"]["content"]) {
    text += token["token"];
    ASSERT_EQ(token["top_logprobs"].size(), 3);
    EXPECT_EQ(token["top_logprobs"][0]["token"], token["token"]) << "greedy";
    EXPECT_LE(token["logprob"], 0);
  }
  EXPECT_EQ(text, text_of(answer));
  json streamed = json::array();
  for (const json& event : post_streamed(body))
    for (const json& choice : event["choices"])
      if (choice["logprobs"].is_object())
        for (const json& token : choice["logprobs"]["content"]) streamed.push_back(token);
  EXPECT_EQ(streamed, answer["choices"][0]["logprobs"]["content"]);

  const json legacy = post({{"prompt", kAsked}, {"logprobs", 2}}, 200, "/v1/completions")["choices"][0];
  std::string joined;
  for (const json& token : legacy["logprobs"]["tokens"]) joined += token;
  EXPECT_EQ(joined, legacy["text"]);

  body = {{"text", kAsked}, {"return_logprob", true}, {"top_logprobs_num", 2}};
  const json native = post(body, 200, "/generate");
  const json& chances = native["meta_info"]["output_token_logprobs"];
  ASSERT_GT(chances.size(), 0);
  EXPECT_EQ(chances[0][1], native["output_ids"][0]);
  EXPECT_EQ(native["meta_info"]["output_top_logprobs"].size(), chances.size());
}

TEST_F(Apis, lists_that_belong_together_are_equally_long) {
  start();
  json body = {{"text", kAsked}, {"return_logprob", true}, {"top_logprobs_num", 2}};
  const std::string text = post(body, 200, "/generate")["text"];
  const auto expect_parallel = [](const json& answer) {
    const json &ids = answer["output_ids"], &meta = answer["meta_info"];
    ASSERT_EQ(meta["output_token_logprobs"].size(), ids.size());
    ASSERT_EQ(meta["output_top_logprobs"].size(), ids.size());
    EXPECT_EQ(meta["completion_tokens"], ids.size());
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(meta["output_token_logprobs"][i][1], ids[i]);
  };
  for (const char* decoder : {"ar", "spec", "fused", "auto"}) {
    body["dvlm"] = {{"decoder", decoder}};
    for (const json& end :  // by the end token, a limit, and a stop string
         {json::object(), json({{"max_new_tokens", 3}}), json({{"stop", text.substr(4, 5)}})}) {
      body["sampling_params"] = end;
      expect_parallel(post(body, 200, "/generate"));
      expect_parallel(post_streamed(body, "/generate").back());
    }
  }
  const json legacy = post({{"prompt", kAsked}, {"logprobs", 2}}, 200, "/v1/completions")["choices"][0];
  for (const char* list : {"token_logprobs", "top_logprobs", "text_offset"})
    EXPECT_EQ(legacy["logprobs"][list].size(), legacy["logprobs"]["tokens"].size()) << list;
}

TEST_F(Apis, progress_is_told_to_those_who_ask) {
  engine().clear();  // or the picture would be known
  ServerOptions options;
  options.scheduler.progress_every = std::chrono::milliseconds(0);
  start(options);
  json body = picture_question("Where is the hammer?");
  for (const bool asked : {true, false}) {
    engine().clear();
    body["dvlm"]["progress"] = asked;
    std::map<std::string, int64_t> last;
    std::string text;
    for (const json& event : post_streamed(body)) {
      text += event["choices"][0]["delta"].value("content", "");
      if (!event.contains("dvlm")) continue;
      const json& progress = event["dvlm"]["progress"];
      EXPECT_TRUE(text.empty()) << "it is of what comes before the text";
      EXPECT_LE(progress["done"], progress["total"]);
      EXPECT_GE(progress["done"], last[progress["stage"]]);
      last[progress["stage"]] = progress["done"];
    }
    EXPECT_FALSE(text.empty());
    EXPECT_EQ(!last.empty(), asked);
    EXPECT_LE(last.size(), 3u);
  }
}

TEST_F(Apis, passes_are_told) {
  start();
  json body = picture_question("Where is the hammer?");
  body["dvlm"] = {{"passes", true}, {"decoder", "spec"}, {"block_size", 8}};
  int emitted = 0;
  std::set<std::string> kinds;
  for (const json& event : post_streamed(body)) {
    if (!event.contains("dvlm")) continue;
    for (const json& pass : event["dvlm"]["passes"]) {
      kinds.insert(pass["kind"].get<std::string>());
      emitted += pass["emitted"].get<int>();
    }
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"prefill", "draft", "verify"}));
  EXPECT_EQ(emitted, post(picture_question("Where is the hammer?"))["usage"]["completion_tokens"]);
}

}  // namespace
}  // namespace dvlm
