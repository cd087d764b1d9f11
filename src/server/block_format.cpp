#include "server/block_format.h"

#include <utility>

#include "server/request_log.h"

namespace dvlm {

using nlohmann::json;

namespace {

void append_events(json& events, json more) {
  for (json& event : more) events.push_back(std::move(event));
}

}  // namespace

json BlockFormat::piece(int, const RequestHandle::Update& update) {
  json events = json::array();
  if (options_.tools)
    read(reader_.push(update.text), events);
  else if (!update.text.empty())
    read({.content = update.text, .calls = {}}, events);
  return events;
}

json BlockFormat::end(int, const Answer& answer) {
  json events = json::array();
  finish(events, answer);
  append_events(events, ended(answer));
  return events;
}

json BlockFormat::whole(Answers answers) {
  const Answer& answer = *answers.front();
  RequestHandle::Update all;
  all.text = answer.text;
  json unused = piece(0, all);
  finish(unused, answer);
  return complete(answer);
}

void BlockFormat::read(const ToolCallReader::Part& part, json& events) {
  if (!part.content.empty()) {
    if (!open_ || blocks_.back().call) open({.id = "msg_" + random_hex()}, events);
    add(part.content, events);
  }
  for (const auto& [call, name, arguments] : part.calls) {
    if (!name.empty())
      open({.call = true, .id = "fc_" + random_hex(), .call_id = "call_" + random_hex(), .name = name},
           events);
    if (!arguments.empty()) add(arguments, events);
  }
}

void BlockFormat::open(AnswerBlock block, json& events) {
  close(events);
  blocks_.push_back(std::move(block));
  open_ = true;
  append_events(events, opened(blocks_.size() - 1, blocks_.back()));
}

void BlockFormat::add(const std::string& piece, json& events) {
  blocks_.back().text += piece;
  append_events(events, added(blocks_.size() - 1, blocks_.back(), piece));
}

void BlockFormat::close(json& events, bool whole) {
  if (open_) append_events(events, closed(blocks_.size() - 1, blocks_.back(), whole));
  open_ = false;
}

void BlockFormat::finish(json& events, const Answer& answer) {
  if (options_.tools) read(reader_.finish(), events);
  close(events, answer.finish == FinishReason::stop);
}

}  // namespace dvlm
