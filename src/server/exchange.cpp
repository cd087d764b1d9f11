#include "server/exchange.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "core/log.h"
#include "core/stopwatch.h"
#include "server/connection.h"
#include "server/errors.h"

namespace dvlm {

namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr milliseconds kClientPoll{200};  // between looks at whether the client is still there
constexpr milliseconds kTurn{10};         // the same where several choices are watched in turn
constexpr std::chrono::seconds kLastWrite{30};
constexpr int kClientGone = 499;  // nobody reads it; the log does
constexpr size_t kLoggedPrompt = 4096;

// What a server-sent event holds; with a name where it has one.
bool send_text(httplib::DataSink& sink, const std::string& data, const std::string& name = "") {
  const std::string text = (name.empty() ? "" : "event: " + name + "\n") + "data: " + data + "\n\n";
  return sink.write(text.data(), text.size());
}

// The texts of a prompt, with marks where images are.
std::string prompt_text(const Request& request, const Tokenizer& tokenizer) {
  std::string out;
  if (!request.input_ids.empty())
    out = tokenizer.decode(
        std::span(request.input_ids).first(std::min(request.input_ids.size(), kLoggedPrompt)), false);
  else
    for (const Message& message : request.conversation)
      for (const ContentPart& part : message.content)
        out += part.type == ContentPart::Type::text ? part.text + "\n" : "[picture]\n";
  if (out.size() > kLoggedPrompt) out.resize(kLoggedPrompt);
  return out;
}

// A request for text from its acceptance to the end of its answer. Gives its handles up when it goes. Used by
// the connection's thread.
class Exchange {
 public:
  Exchange(ServerState& state, Connection& connection) : state_(state), connection_(connection) {
    ++state_.exchanges;
  }
  ~Exchange() {
    cancel();
    RequestRecord& record = connection_.record;
    if (record.generated && record.finish.empty()) record.finish = connection_.alive() ? "error" : "gone";
    if (!choices_.empty()) state_.metrics.add_request(seconds_since(record.start));
    --state_.exchanges;
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  // Throws Refused when the server ends or the queue is full.
  void submit(ApiRequest asked, std::unique_ptr<AnswerFormat> format) {
    const ServerOptions& options = state_.options;
    if (state_.stopping) throw Refused(503, "the server is about to end");
    const auto count = static_cast<size_t>(asked.choices);
    if (count > options.scheduler.max_waiting)
      throw Refused({400,
                     fmt::format("\"n\" is {}, but this server holds at most {} requests", count,
                                 options.scheduler.max_waiting),
                     "n"});
    // Each choice holds the prompt with its images.
    if (count * connection_.body_bytes() > options.body_limit)
      throw Refused({413, fmt::format("the request is too large for {} choices: ask for fewer", count), "n"});
    format_ = std::move(format);
    fields_ = asked.fields;
    decoder_ = asked.request.decode.kind;
    progress_ = asked.progress;
    deadline_ = Clock::now() + std::chrono::seconds(options.timeout);
    connection_.answer_until(deadline_ + kLastWrite);
    RequestRecord& record = connection_.record;
    record.generated = true;
    if (options.log_prompts) record.prompt = prompt_text(asked.request, state_.tokens.tokenizer());
    for (size_t i = 0; i < count; ++i) {
      Request request = i + 1 == count ? std::move(asked.request) : asked.request;
      request.decode.sampling.seed += i;
      choices_.push_back({state_.scheduler.submit(request), {}});
      if (!choices_.back().handle) {
        choices_.pop_back();
        throw Refused({429, "too many requests wait already: try again", "", "rate_limit_exceeded"});
      }
    }
  }

  // Waits for the first update: the status of a stream depends on it. Throws Refused for an error, and when
  // the client has gone.
  void wait_for_update() {
    do {
      if (!connection_.alive()) throw Refused(kClientGone, "the client is gone");
    } while (!gather());
    check_errors();
  }

  // Waits for the ends of all choices. Throws as wait_for_update.
  json whole() {
    while (!ended()) wait_for_update();
    count_answers();
    return format_->whole(answers());
  }

  // Writes server-sent events to the end. False: the client is gone.
  bool stream(httplib::DataSink& sink) {
    for (int i = 0; i < static_cast<int>(choices_.size()); ++i)
      if (!send(sink, format_->begin(i))) return false;
    for (;;) {
      if (!connection_.alive() || !send_updates(sink)) return false;
      const auto failed =
          std::ranges::find_if(choices_, [](const Choice& choice) { return !choice.update.error.empty(); });
      if (failed != choices_.end()) {
        connection_.record.finish = "error";
        if (!send(sink, format_->failure(error_of(failed->update))) || !send_done(sink)) return false;
        break;
      }
      if (ended()) {
        if (!send_end(sink)) return false;
        break;
      }
      gather();
    }
    sink.done();
    return true;
  }

 private:
  struct Choice {
    std::shared_ptr<RequestHandle> handle;
    RequestHandle::Update update;  // read, not yet sent
    bool ended = false, begun = false;
    std::optional<Answer> instead = {};  // of one that got no turn in time, beside others that did
    const Answer& answer() const { return instead ? *instead : handle->answer(); }
  };

  void cancel() {
    for (Choice& choice : choices_) choice.handle->cancel();
  }

  bool ended() const {
    return std::ranges::all_of(choices_, [](const Choice& choice) { return choice.ended; });
  }

  // True: there is something new.
  bool gather(Choice& choice, milliseconds timeout) {
    if (choice.ended) {
      choice.update = {};
      return false;
    }
    choice.update = choice.handle->wait(timeout, progress_);
    // Text ends what comes before it.
    if (!progress_ || !choice.update.text.empty()) choice.update.progress.clear();
    const RequestHandle::Update& update = choice.update;
    choice.ended = update.done;
    choice.begun = choice.begun || !update.text.empty();
    if (timed_out_ && !update.error.empty() && std::ranges::any_of(choices_, &Choice::begun)) {
      choice.update = {};
      choice.update.done = true;
      choice.instead.emplace().finish = FinishReason::cancelled;
    }
    if (RequestRecord& record = connection_.record; !update.text.empty() && record.first_token_ms < 0) {
      const double seconds = seconds_since(record.start);
      record.first_token_ms = seconds * 1000;
      state_.metrics.add_first_token(seconds);
    }
    return update.done || !update.text.empty() || !update.logprobs.empty() || !update.passes.empty() ||
           !update.progress.empty();
  }

  // Takes what is new of every choice; waits a while for something.
  bool gather() {
    if (Clock::now() > deadline_) {
      timed_out_ = true;
      cancel();
    }
    const bool alone = choices_.size() == 1;
    bool any = false;
    for (Choice& choice : choices_) any |= gather(choice, alone ? kClientPoll : milliseconds(0));
    if (any || alone) return any;
    const auto open = std::ranges::find_if(choices_, [](const Choice& c) { return !c.ended; });
    return open != choices_.end() && gather(*open, kTurn);
  }

  // What is the client's fault and neither the length of the prompt nor a grammar is a picture: all else was
  // looked at before.
  ApiError error_of(const Failure& failure) const {
    if (timed_out_)
      return {503, fmt::format("the request took longer than the {} seconds that this server allows",
                               state_.options.timeout)};
    if (failure.device_lost) return {503, failure.error, "", "device_lost"};  // the log has it already
    if (failure.too_long) return {400, failure.error, fields_.text, "context_length_exceeded"};
    if (failure.grammar) return {400, failure.error, fields_.form};
    if (!failure.server_fault)
      return {400, hide_root(failure.error, state_.options.images), fields_.pictures};
    log(LogLevel::error, fmt::format("request {}: {}", connection_.record.id, failure.error));
    return {500, fmt::format("{} (request {})", failure.error, connection_.record.id)};
  }

  void check_errors() {
    for (const Choice& choice : choices_)
      if (choice.ended && !choice.update.error.empty()) throw Refused(error_of(choice.update));
  }

  std::vector<const Answer*> answers() const {
    std::vector<const Answer*> out;
    for (const Choice& choice : choices_) out.push_back(&choice.answer());
    return out;
  }

  void count_answers() {
    RequestRecord& record = connection_.record;
    for (const Answer* answer : answers()) {
      state_.metrics.add_answer(*answer, decoder_);
      record.prompt_tokens = answer->prompt_tokens;
      record.completion_tokens += static_cast<int>(answer->tokens.size());
      if (!record.finish.empty()) record.finish += ",";
      record.finish +=
          answer->finish == FinishReason::cancelled && timed_out_ ? "timeout" : name_of(answer->finish);
    }
  }

  bool send_updates(httplib::DataSink& sink) {
    for (int i = 0; i < static_cast<int>(choices_.size()); ++i) {
      const Choice& choice = choices_[i];
      if (!send(sink, format_->piece(i, choice.update))) return false;
      // Only once: after the end a choice has nothing more to say.
      if (choice.update.done && choice.update.error.empty() && !send(sink, format_->end(i, choice.answer())))
        return false;
    }
    return true;
  }

  bool send_end(httplib::DataSink& sink) {
    count_answers();
    return send(sink, format_->last(answers())) && send_done(sink);
  }

  // An event, a list of them, or null.
  bool send(httplib::DataSink& sink, const json& event) const {
    if (event.is_null()) return true;
    if (event.is_array()) return std::ranges::all_of(event, [&](const json& one) { return send(sink, one); });
    return send_text(sink, dump(event), format_->named() ? event.at("type").get<std::string>() : "");
  }

  bool send_done(httplib::DataSink& sink) const { return format_->named() || send_text(sink, "[DONE]"); }

  ServerState& state_;
  Connection& connection_;
  std::vector<Choice> choices_;
  std::unique_ptr<AnswerFormat> format_;
  PromptFields fields_;
  DecoderKind decoder_ = DecoderKind::automatic;
  Clock::time_point deadline_ = {};
  bool progress_ = false;  // is asked for
  bool timed_out_ = false;
};

}  // namespace

void answer(ServerState& state, httplib::Response& response, ApiRequest asked,
            std::unique_ptr<AnswerFormat> format) {
  const bool streamed = asked.stream;
  Connection& connection = Connection::current();
  const auto exchange = std::make_shared<Exchange>(state, connection);
  exchange->submit(std::move(asked), std::move(format));
  if (!streamed) return send_json(response, exchange->whole());
  exchange->wait_for_update();
  response.set_header("Cache-Control", "no-cache");
  const auto write = [exchange, &connection](size_t, httplib::DataSink& sink) {
    try {
      return exchange->stream(sink);
    } catch (const std::exception& error) {  // the library would end the process
      log(LogLevel::error,
          fmt::format("request {}: {}", connection.record.id, printable(error.what(), 4096)));
      return false;
    }
  };
  if (connection.head().http_1_0)
    response.set_content_provider("text/event-stream", write);  // up to the close
  else
    response.set_chunked_content_provider("text/event-stream", write);
}

}  // namespace dvlm
