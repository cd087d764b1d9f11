// OpenAI's responses and Anthropic's messages: requests in, blocks out.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "message_of.h"
#include "server/apis.h"
#include "server/errors.h"
#include "server/grammar_fields.h"
#include "server/tool_fields.h"

namespace dvlm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

const Tokenizer& tiny_tokenizer() {
  static const Tokenizer tokenizer(std::string(DVLM_MODELS) + "/dvlm-tiny");
  return tokenizer;
}

using Parse = ApiRequest (*)(const json&);

ApiRequest response_request(const json& body) {
  return parse_response_request(body, {}, tiny_tokenizer(), {.max_tokens = 100});
}

ApiRequest chat_request(const json& body) {
  return parse_chat_request(body, {}, tiny_tokenizer(), {.max_tokens = 100});
}

ApiRequest messages_request(const json& body) {
  return parse_messages_request(body, {}, tiny_tokenizer(), {.max_tokens = 100});
}

// The conversation as the model reads it.
std::string rendered(const ApiRequest& asked) {
  return render_chat(asked.request.conversation, asked.request.chat_template);
}

std::string chat(const json& messages) {
  return render_chat(parse_messages(messages), {});
}

// "field: sentence".
std::string refusal_of(Parse parse, json body, const std::string& fields) {
  body.update(json::parse(fields));
  try {
    parse(body);
  } catch (const FieldError& error) {
    return error.field() + ": " + error.what();
  }
  return "nothing";
}

constexpr const char* kPicture = "data:image/png;base64,iVBORw0KGgo=";

TEST(Responses, ReadConversations) {
  EXPECT_EQ(rendered(response_request({{"input", "Hello"}})),
            chat({{{"role", "user"}, {"content", "Hello"}}}));
  const json asked = json::parse(R"({"instructions": "Be terse.", "input": [
    {"role": "user", "content": [{"type": "input_text", "text": "Look: "}, {"type": "input_image", "image_url": "URL", "detail": "low"}]},
    {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
     "content": [{"type": "output_text", "text": "A cup.", "annotations": [], "logprobs": []}]},
    {"type": "function_call", "call_id": "c1", "name": "move", "arguments": "{\"a\": 1}", "id": "fc_1", "status": "completed"},
    {"type": "function_call", "call_id": "c2", "name": "stop", "arguments": ""},
    {"type": "function_call_output", "call_id": "c1", "output": "moved"},
    {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "stopped"}]},
    {"role": "developer", "content": "Go on."}]})");
  const ApiRequest request = response_request(asked);
  EXPECT_EQ(rendered(request), chat(json::parse(R"([
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image", "image": "URL"}]},
    {"role": "assistant", "content": "A cup.", "tool_calls": [
       {"type": "function", "function": {"name": "move", "arguments": "{\"a\": 1}"}},
       {"type": "function", "function": {"name": "stop", "arguments": "{}"}}]},
    {"role": "tool", "content": "moved"}, {"role": "tool", "content": "stopped"},
    {"role": "system", "content": "Go on."}])")));
  EXPECT_EQ(request.request.conversation[1].content[1].pixel_bound, 512 * 512) << "detail";
}

TEST(Responses, SayWhatIsWrong) {
  const json body = {{"input", "Hello"}};
  for (
      const auto& [fields, words] : std::initializer_list<std::pair<const char*, const char*>>{
          {R"({"input": null})", "input: "},
          {R"({"input": 3})", "input: "},
          {R"({"input": []})", "input: "},
          {R"({"input": [{"type": "reasoning"}]})", "input[0].type: "},
          {R"({"input": [{"role": "user", "content": "a", "speed": 1}]})", "input[0].speed: "},
          {R"({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]})",
           "input[0].content[0].file_id: "},
          {R"({"input": [{"role": "user", "content": [{"type": "input_text"}]}]})",
           "input[0].content[0].text: "},
          {R"({"input": [{"type": "function_call", "name": "f", "arguments": "{"}]})", "input: "},
          {R"({"input": [{"type": "function_call_output"}]})", "input[0].output: "},
          {R"({"input": [{"role": "robot", "content": "a"}]})", "robot"},
          {R"({"max_output_tokens": 101})", "max_output_tokens: "},
          {R"({"text": {"format": {"type": "xml"}}})", "text.format.type: "},
          {R"({"text": {"format": {"type": "json_schema"}}})", "text.format.schema: "},
          {R"({"text": {"format": {"type": "text"}, "speed": 1}})", "text.speed: "},
          {R"({"text": {"format": {"type": "json_object"}}, "dvlm": {"decoder": "mdm"}})", "text.format: "},
          {R"({"tools": [{"type": "web_search"}]})", "there are no tools here but \"function\""},
          {R"({"tools": [{"type": "function", "function": {"name": "f"}}]})", "\"function\" is not known"},
          {R"({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "g"}})",
           "there is no tool g"},
          {R"({"tool_choice": "required"})", "needs \"tools\""},
          {R"({"metadata": 3})", "metadata: "},
          {R"({"text": {"format": {"type": "json_schema", "schema": "{bad"}}})", "text.format.schema: "},
          {R"({"text": {"format": {"type": "text", "schema": {}}}})", "text.format.schema: "},
          {R"({"dvlm": {"json_spaces": "none"}})", "dvlm.json_spaces: "},
          {R"({"text": {}, "dvlm": {"json_spaces": "none"}})", "dvlm.json_spaces: "},
          {R"({"reasoning": {"effort": "high"}})", "reasoning.effort: "},
          {R"({"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "function", "name": "f", "speed": 1}})",
           "tool_choice.speed: "},
          {R"({"tools": [{"type": "function", "name": "f", "strict": "yes"}]})", "strict"},
          {R"({"input": [{"role": "tool", "content": "a"}]})", "input[0].role: "},
          {R"({"input": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "a", "speed": 1}]}]})",
           "input[0].content[0].speed: "},
          {R"({"input": [{"role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": [1]}]}]})",
           "input[0].content[0].annotations: "},
          {R"({"input": [{"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
                          {"type": "function_call_output", "call_id": "b", "output": "x"}]})",
           "result of \"b\""},
          {R"({"store": true})", "nothing is stored"},
          {R"({"previous_response_id": "r"})", "nothing is stored"},
          {R"({"dvlm": {"passes": true}, "stream": true})", "dvlm.passes: "},
          {R"({"speed": 1})", "speed: "}})
    EXPECT_THAT(refusal_of(response_request, body, fields), HasSubstr(words)) << fields;
  EXPECT_EQ(refusal_of(response_request, body,
                       R"({"store": false, "truncation": "disabled", "reasoning": {}, "include": [],
    "metadata": {"a": "b"}, "text": {"format": {"type": "text"}, "verbosity": "medium"}, "tool_choice": "auto"})"),
            "nothing");
}

// A schema inside a string is as deep as one beside it.
TEST(Responses, RefuseSchemasWithoutEnd) {
  const std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  for (const char* type : {"text", "json_schema"})
    EXPECT_THAT(refusal_of(response_request, {{"input", "Hi"}},
                           json{{"text", {{"format", {{"type", type}, {"schema", deep}}}}}}.dump()),
                HasSubstr("text.format.schema: "));
}

TEST(Responses, NullIsLeftOut) {
  EXPECT_EQ(
      refusal_of(response_request, {{"input", "Hi"}}, R"({"reasoning": {"effort": null, "summary": null},
    "tools": [{"type": null, "name": "f", "description": null, "parameters": null, "strict": null, "more": null}]})"),
      "nothing");
}

// Whatever their order, results belong to the calls that they name.
TEST(Blocks, ResultsStandInTheOrderOfTheirCalls) {
  const auto with = [](const std::string& calls, const std::string& results) {
    return rendered(messages_request(json::parse(
        R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": [)" +
        calls + R"(]}, {"role": "user", "content": [)" + results + "]}]}")));
  };
  const std::string a = R"({"type": "tool_use", "id": "a", "name": "f", "input": {}})",
                    b = R"({"type": "tool_use", "id": "b", "name": "g", "input": {}})",
                    of_a = R"({"type": "tool_result", "tool_use_id": "a", "content": "one"})",
                    of_b = R"({"type": "tool_result", "tool_use_id": "b", "content": "two"})";
  EXPECT_EQ(with(a + "," + b, of_b + "," + of_a), with(a + "," + b, of_a + "," + of_b));
  EXPECT_NE(with(b + "," + a, of_b + "," + of_a), with(a + "," + b, of_a + "," + of_b));
}

TEST(Messages, ReadConversations) {
  const json asked = json::parse(
      R"({"max_tokens": 9, "system": [{"type": "text", "text": "Be terse.", "cache_control": {"type": "ephemeral"}}],
   "messages": [
    {"role": "user", "content": [{"type": "text", "text": "Look: "},
       {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]},
    {"role": "assistant", "content": [{"type": "text", "text": "A cup."}, {"type": "tool_use", "id": "t1", "name": "move", "input": {"a": 1}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "moved"}]},
                                 {"type": "text", "text": "And now?"}]},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t2", "name": "stop", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t2", "content": "stuck", "is_error": true}]}]})");
  const ApiRequest request = messages_request(asked);
  EXPECT_EQ(rendered(request), chat(json::parse(R"([
    {"role": "system", "content": "Be terse."},
    {"role": "user", "content": [{"type": "text", "text": "Look: "}, {"type": "image", "image": "x"}]},
    {"role": "assistant", "content": "A cup.", "tool_calls": [{"type": "function", "function": {"name": "move", "arguments": "{\"a\": 1}"}}]},
    {"role": "tool", "content": "moved"}, {"role": "user", "content": "And now?"},
    {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "stop", "arguments": "{}"}}]},
    {"role": "tool", "content": "Error: stuck"}])")));
  EXPECT_EQ(request.request.conversation[1].content[1].source, kPicture);
  EXPECT_EQ(request.request.decode.max_tokens, 9);
}

// The model wrote its arguments in an order of its own, and reads them again in that order.
TEST(Messages, AndChatsKeepTheOrderOfArguments) {
  const auto shown = [](const char* text, const auto& request_of) {
    json body = json::parse(text);
    keep_schemas_as_text(body, text);
    return rendered(request_of(body));
  };
  const std::string as_written = R"({"to": "b", "from": {"z": 1.5, "a": 1e15}})";
  const char* const of_python = R"("arguments": {"to": "b", "from": {"z": 1.5, "a": 1000000000000000.0}}})";
  EXPECT_THAT(shown((R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": )" +
                     as_written + R"(}]}, {"role": "user", "content": "x"}]})")
                        .c_str(),
                    messages_request),
              HasSubstr(of_python));
  EXPECT_THAT(
      shown((R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",
    "content": "", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": )" +
             as_written + R"(}}]}, {"role": "user", "content": "x"}]})")
                .c_str(),
            chat_request),
      HasSubstr(of_python));
  // What only looks like the text of an input is one, too.
  EXPECT_THAT(shown(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {"as text": "{}"}}]},
    {"role": "user", "content": "x"}]})",
                    messages_request),
              HasSubstr(R"("arguments": {"as text": "{}"}})"));
  EXPECT_THAT(shown(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"},
    {"role": "assistant", "content": [{"type": "tool\u005fuse", "id": "t", "name": "f", "input": {"as text": 5}}]},
    {"role": "user", "content": "x"}]})",
                    messages_request),
              HasSubstr(R"("arguments": {"as text": 5}})"));
}

// Whatever keeps an order is looked through from its beginning for each name.
TEST(Messages, AndChatsHaveNoObjectsOfThousandsOfMembers) {
  const auto object = [](int members) {
    std::string out = "{";
    for (int i = 0; i < members; ++i) out += fmt::format("{}\"k{}\": 0", i ? ", " : "", i);
    return out + "}";
  };
  const auto problem = [](const std::string& text) {
    return message_of([&] {
      json body = json::parse(text);
      keep_schemas_as_text(body, text);
      chat_request(body);
    });
  };
  const auto with_arguments = [](const std::string& arguments) {
    return R"({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "",
      "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": )" +
           arguments + R"(}}]}, {"role": "user", "content": "x"}]})";
  };
  EXPECT_EQ(problem(with_arguments(object(1000))), "no error");
  EXPECT_THAT(problem(with_arguments(object(1025))), HasSubstr("1024 members"));
  EXPECT_THAT(problem(with_arguments(json(object(1025)).dump())), HasSubstr("1024 members"));
  const std::string tool = R"({"messages": [{"role": "user", "content": "Hi"}], "tools": [{"type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": )";
  EXPECT_THAT(problem(tool + object(1025) + "}}}]}"), HasSubstr("1024 members"));
}

TEST(Messages, SayWhatIsWrong) {
  const json body = json::parse(R"({"max_tokens": 9, "messages": [{"role": "user", "content": "Hello"}]})");
  for (
      const auto& [fields, words] : std::initializer_list<std::pair<const char*, const char*>>{
          {R"({"max_tokens": null})", "max_tokens: "},
          {R"({"max_tokens": 101})", "max_tokens: "},
          {R"({"messages": "Hello"})", "messages: "},
          {R"({"messages": []})", "messages: "},
          {R"({"messages": [{"role": "system", "content": "a"}]})", "messages[0].role: "},
          {R"({"messages": [{"role": "user", "content": [{"type": "document"}]}]})",
           "messages[0].content[0].type: "},
          {R"({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]})",
           "messages[0].content[0].type: "},
          {R"({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file"}}]}]})",
           "messages[0].content[0].source.type: "},
          {R"({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "speed": 1}]}]})",
           "messages[0].content[0].speed: "},
          {R"({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "image"}]}]}]})",
           "messages[0].content[0].content[0].type: "},
          {R"({"system": 3})", "system: "},
          {R"({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "The"}]})",
           "not continued"},
          {R"({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a"}]}]})",
           "result of \"a\""},
          {R"({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "u", "data": "d"}}]}]})",
           "source.data: "},
          {R"({"messages": [{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}]}]})",
           "input: "},
          {R"({"dvlm": {"json_spaces": "none"}})", "dvlm.json_spaces: "},
          {R"({"tools": [{"name": "f"}], "tool_choice": {"type": "any", "name": "f"}})",
           "tool_choice.name: "},
          {R"({"thinking": {"type": "enabled", "budget_tokens": 1024}})", "thinking: "},
          {R"({"stop_sequences": [""]})", "stop_sequences: "},
          {R"({"tools": [{"name": "f", "parameters": {}}]})", "\"parameters\" is not known"},
          {R"({"tools": [{"type": "bash_20250124", "name": "bash"}]})", "tool 1"},
          {R"({"tool_choice": {"type": "any"}})", "needs \"tools\""},
          {R"({"tools": [{"name": "f"}], "tool_choice": {"type": "some"}})", "tool_choice.type: "},
          {R"({"tools": [{"name": "f"}], "tool_choice": {"type": "tool"}})", "tool_choice.name: "},
          {R"({"output_config": {"effort": "high"}})", "output_config.effort: "},
          {R"({"output_config": {"format": {"type": "json_schema"}}})", "output_config.format.schema: "},
          {R"({"speed": 1})", "speed: "}})
    EXPECT_THAT(refusal_of(messages_request, body, fields), HasSubstr(words)) << fields;
}

// A tool is declared to the model in one way, whoever asks and in whatever order.
TEST(Blocks, ToolsAreThoseOfChatCompletions) {
  const std::string schema = R"({"type": "object", "properties": {"z": {"type": "integer"}, "a": {}}})";
  const std::string name = R"("name": "f", "description": "F.", )";
  const json messages = json::parse(R"([{"role": "user", "content": "Hi"}])");
  const ApiRequest expected = parse_chat_request(
      {{"messages", messages},
       {"tools",
        list_as_text(R"([{"type": "function", "function": {)" + name + R"("parameters": )" + schema + "}}]")},
       {"tool_choice", {{"type", "function"}, {"function", {{"name", "f"}}}}},
       {"parallel_tool_calls", false}},
      {}, tiny_tokenizer(), {.max_tokens = 100});
  const ApiRequest response = response_request(
      {{"input", "Hi"},
       {"tools", list_as_text(R"([{"parameters": )" + schema + ", " + name + R"("type": "function"}])")},
       {"tool_choice", {{"type", "function"}, {"name", "f"}}},
       {"parallel_tool_calls", false}});
  const ApiRequest message = messages_request(
      {{"messages", messages},
       {"max_tokens", 5},
       {"tools", list_as_text(R"([{"cache_control": {}, "input_schema": )" + schema + ", " + name +
                              R"("type": "custom"}])")},
       {"tool_choice", {{"type", "tool"}, {"name", "f"}, {"disable_parallel_tool_use", true}}}});
  for (const ApiRequest* other : {&response, &message}) {
    EXPECT_EQ(rendered(*other), rendered(expected));
    ASSERT_TRUE(other->request.grammar);
    EXPECT_EQ(other->request.grammar->text, expected.request.grammar->text);
  }
}

FormatOptions options_of(const ApiRequest& asked) {
  return format_options({"id-1", "model", 5}, asked, TokenWriter(tiny_tokenizer(), std::nullopt));
}

const std::string kAnswer =
    "I move.\n<tool_call>\n{\"name\": \"move\", \"arguments\": {\"a\": 1}}\n</tool_call>";

Answer answer_of(const std::string& text, FinishReason finish = FinishReason::stop) {
  Answer out;
  out.text = text;
  out.tokens = tiny_tokenizer().encode(text, ControlTokens::parse);
  out.finish = finish;
  out.prompt_tokens = 7, out.reused_tokens = 2;
  return out;
}

// All events, with the text in pieces of that many bytes.
json events_of(AnswerFormat& format, const Answer& answer, size_t bytes) {
  json out = format.begin(0);
  const auto append = [&](const json& more) { out.insert(out.end(), more.begin(), more.end()); };
  for (size_t at = 0; at < answer.text.size(); at += bytes) {
    RequestHandle::Update update;
    update.text = answer.text.substr(at, bytes);
    append(format.piece(0, update));
  }
  append(format.end(0, answer));
  return out;
}

std::vector<std::string> types_of(const json& events) {
  std::vector<std::string> out;
  for (const json& event : events)
    if (out.empty() || out.back() != event["type"]) out.push_back(event["type"]);
  return out;
}

ApiRequest with_tool(Parse parse, json body, const char* schema) {
  body["tools"] = {{{"name", "move"}, {schema, {{"type", "object"}}}}};
  if (std::string(schema) == "parameters") body["tools"][0]["type"] = "function";
  return parse(body);
}

TEST(Responses, EventsAreThePiecesOfTheWhole) {
  const ApiRequest asked =
      with_tool(response_request, {{"input", "Hi"}, {"instructions", "Be."}}, "parameters");
  const Answer answer = answer_of(kAnswer);
  const Answer* const answers[] = {&answer};
  json whole = response_format(options_of(asked))->whole(answers);
  ASSERT_EQ(whole["output"].size(), 2);
  EXPECT_EQ(whole["output"][0]["content"][0]["text"], "I move.");
  EXPECT_EQ(whole["output"][1]["arguments"], "{\"a\": 1}");
  EXPECT_EQ(whole["status"], "completed");
  EXPECT_EQ(whole["instructions"], "Be.");
  EXPECT_EQ(whole["tools"][0]["name"], "move");
  EXPECT_EQ(whole["usage"]["input_tokens_details"]["cached_tokens"], 2);
  for (const size_t bytes : {1, 3, 1000}) {
    const json events = events_of(*response_format(options_of(asked)), answer, bytes);
    EXPECT_EQ(types_of(events),
              (std::vector<std::string>{
                  "response.created", "response.in_progress", "response.output_item.added",
                  "response.content_part.added", "response.output_text.delta", "response.output_text.done",
                  "response.content_part.done", "response.output_item.done", "response.output_item.added",
                  "response.function_call_arguments.delta", "response.function_call_arguments.done",
                  "response.output_item.done", "response.completed"}));
    std::string text, arguments;
    for (size_t i = 0; i < events.size(); ++i) {
      EXPECT_EQ(events[i]["sequence_number"], i);
      if (events[i]["type"] == "response.output_text.delta") text += events[i]["delta"];
      if (events[i]["type"] == "response.function_call_arguments.delta") arguments += events[i]["delta"];
    }
    EXPECT_EQ(text, "I move.");
    EXPECT_EQ(arguments, "{\"a\": 1}");
    json last = events.back()["response"];
    for (size_t i = 0; i < 2; ++i)
      for (const char* id : {"id", "call_id"}) last["output"][i].erase(id), whole["output"][i].erase(id);
    EXPECT_EQ(last["output"], whole["output"]);
  }
}

TEST(Responses, ThatEndEarlySaySo) {
  const ApiRequest asked = response_request({{"input", "Hi"}});
  const json events =
      events_of(*response_format(options_of(asked)), answer_of("Only", FinishReason::length), 2);
  EXPECT_EQ(events.back()["type"], "response.incomplete");
  const json& response = events.back()["response"];
  EXPECT_EQ(response["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(response["output"][0]["status"], "incomplete");
  EXPECT_EQ(response_format(options_of(asked))->failure({503, "gone", "", "x"})["type"], "error");
}

TEST(Messages, EventsAreThePiecesOfTheWhole) {
  const ApiRequest asked = with_tool(
      messages_request, json::parse(R"({"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})"),
      "input_schema");
  const Answer answer = answer_of(kAnswer);
  const Answer* const answers[] = {&answer};
  const json whole = messages_format(options_of(asked))->whole(answers);
  EXPECT_EQ(whole["content"][0], json({{"type", "text"}, {"text", "I move."}}));
  EXPECT_EQ(whole["content"][1]["input"], json({{"a", 1}}));
  EXPECT_EQ(whole["stop_reason"], "tool_use");
  EXPECT_EQ(whole["usage"]["input_tokens"], 5);
  EXPECT_EQ(whole["usage"]["cache_read_input_tokens"], 2);
  for (const size_t bytes : {1, 3, 1000}) {
    const json events = events_of(*messages_format(options_of(asked)), answer, bytes);
    EXPECT_EQ(types_of(events),
              (std::vector<std::string>{"message_start", "content_block_start", "content_block_delta",
                                        "content_block_stop", "content_block_start", "content_block_delta",
                                        "content_block_stop", "message_delta", "message_stop"}));
    std::string text, input;
    for (const json& event : events) {
      if (event["type"] != "content_block_delta") continue;
      text += event["delta"].value("text", "");
      input += event["delta"].value("partial_json", "");
    }
    EXPECT_EQ(text, "I move.");
    EXPECT_EQ(input, "{\"a\": 1}");
    EXPECT_EQ(events[events.size() - 2]["delta"]["stop_reason"], "tool_use");
    EXPECT_EQ(events[events.size() - 2]["usage"], whole["usage"]);
  }
}

// Wherever it is cut off, a call is whole or is none.
TEST(Blocks, CallsThatAreCutOff) {
  const json messages = json::parse(R"({"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]})");
  const ApiRequest response = with_tool(response_request, {{"input", "Hi"}}, "parameters"),
                   message = with_tool(messages_request, messages, "input_schema");
  const size_t begin = kAnswer.find("{\"a\""), end = kAnswer.find("}}") + 1;
  for (size_t size = begin; size < kAnswer.size(); ++size) {
    SCOPED_TRACE(kAnswer.substr(0, size));
    const Answer answer = answer_of(kAnswer.substr(0, size), FinishReason::length);
    const Answer* const answers[] = {&answer};
    const json content = messages_format(options_of(message))->whole(answers)["content"];
    ASSERT_EQ(content.size(), size < end ? 1 : 2);
    if (size >= end) {
      EXPECT_EQ(content[1]["input"], json({{"a", 1}}));
    }
    const json events = events_of(*response_format(options_of(response)), answer, 2);
    const json& last = events.back()["response"]["output"].back();
    EXPECT_EQ(last["status"], "incomplete");
    EXPECT_EQ(events[events.size() - 2]["item"], last);
    if (size > begin) {
      EXPECT_EQ(last["arguments"], kAnswer.substr(begin, std::min(size, end) - begin));
    }
  }
}

TEST(Messages, SayWhyTheyEnd) {
  ApiRequest asked = messages_request(json::parse(
      R"({"max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}], "stop_sequences": [" cup"]})"));
  const auto reason = [&](const Answer& answer) {
    const Answer* const answers[] = {&answer};
    const json whole = messages_format(options_of(asked))->whole(answers);
    return std::pair(whole["stop_reason"], whole["stop_sequence"]);
  };
  EXPECT_EQ(reason(answer_of("A cup.")), std::pair(json("end_turn"), json()));
  EXPECT_EQ(reason(answer_of("A", FinishReason::length)), std::pair(json("max_tokens"), json()));
  Answer stopped = answer_of("A cup is");
  stopped.text = "A";
  EXPECT_EQ(reason(stopped), std::pair(json("stop_sequence"), json(" cup")));
}

}  // namespace
}  // namespace dvlm
