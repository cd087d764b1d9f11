#include "evaluate/endpoint.h"

#include <curl/curl.h>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <thread>

#include "checkpoint/json.h"
#include "core/ascii.h"
#include "evaluate/picture_url.h"

namespace dvlm {

namespace {

using nlohmann::json;

constexpr size_t kLongestLine = size_t{8} << 20, kLongestAnswer = size_t{64} << 20;  // bytes

// What comes of one try, read while it comes.
class Reader {
 public:
  explicit Reader(const std::function<bool()>& cancelled) : cancelled_(cancelled) {}

  EndpointAnswer answer;
  std::string problem;  // of what the server sent
  std::string refusal;  // what it says of this request behind a status of 200
  std::string body;     // of what is no stream of events
  double wait_s = 0;    // Retry-After
  bool stream = false, ended = false;

  bool take(std::string_view bytes) {
    if (!stream) {
      body.append(bytes);
      return body.size() <= kLongestAnswer;
    }
    line_.append(bytes);
    for (size_t end = 0; (end = line_.find('\n')) != std::string::npos; line_.erase(0, end + 1))
      if (!take_line(trim(std::string_view(line_).substr(0, end)))) return false;
    return line_.size() <= kLongestLine;
  }

  void take_header(std::string_view line) {
    const size_t colon = line.find(':');
    if (colon == line.npos) return;
    const std::string_view name = line.substr(0, colon), value = trim(line.substr(colon + 1));
    if (same_word(name, "content-type")) stream = begins_with_word(value, "text/event-stream");
    if (same_word(name, "retry-after")) wait_s = std::strtod(std::string(value).c_str(), nullptr);
  }

  // An answer in one piece.
  void take_whole() { take_event(body); }

  bool cancelled() const { return cancelled_ && cancelled_(); }

 private:
  bool take_line(std::string_view line) {
    if (!line.starts_with("data:")) return true;
    const std::string_view event = trim(line.substr(5));
    if (event != "[DONE]") return take_event(event);
    end();
    return false;  // some servers hold the connection
  }

  void end() {
    if (!ended) answer.total_ms = 1000 * seconds_since(start_);
    ended = true;
  }

  bool take_event(std::string_view text) {
    try {
      const json event = parse_json(text, "the server's answer");
      if (event.contains("error") && !event["error"].is_null()) {
        const json& error = event["error"];
        const bool says = error.is_object() && error.contains("message");
        const json code = error.is_object() && error.contains("code") ? error["code"] : json();
        const int64_t status = code.is_number_integer() ? code.get<int64_t>() : 0;
        const bool refuses = status == 400 || status == 413 || status == 422;
        (refuses ? refusal : problem) = (says ? error["message"] : error).dump();
        return false;
      }
      if (const auto usage = event.find("usage"); usage != event.end() && usage->is_object()) {
        answer.prompt_tokens = tokens_of(*usage, "prompt_tokens");
        answer.tokens = tokens_of(*usage, "completion_tokens");
      }
      const auto choices = event.find("choices");
      if (choices == event.end() || choices->empty()) return true;
      const json& choice = choices->at(0);
      const json& said = choice.contains("delta") ? choice.at("delta") : choice.at("message");
      if (const auto content = said.find("content"); content != said.end() && content->is_string()) {
        if (answer.text.empty()) answer.first_ms = 1000 * seconds_since(start_);
        answer.text += content->get_ref<const std::string&>();
      }
      take_scores(choice);
      if (const auto why = choice.find("finish_reason"); why != choice.end() && why->is_string())
        answer.finish_reason = *why, end();
      return answer.text.size() <= kLongestAnswer;
    } catch (const std::exception& error) {  // types that are not the protocol's
      problem = error.what();
      return false;
    }
  }

  // 0, not known, for what can be no number of tokens.
  static int64_t tokens_of(const json& usage, const char* key) {
    constexpr int64_t kMost = int64_t{1} << 40;
    const auto found = usage.find(key);
    const bool sound = found != usage.end() && found->is_number_integer() && *found >= 0 && *found <= kMost;
    return sound ? found->get<int64_t>() : 0;
  }

  void take_scores(const json& choice) {
    const auto scores = choice.find("logprobs");
    if (scores == choice.end() || !scores->is_object() || !scores->contains("content")) return;
    if (const json& content = scores->at("content"); !content.is_null())
      std::ranges::move(token_scores_from_json(content), std::back_inserter(answer.scores));
  }

  const std::function<bool()>& cancelled_;
  const Clock::time_point start_ = Clock::now();
  std::string line_;
};

size_t on_header(char* line, size_t size, size_t count, void* reader) {
  static_cast<Reader*>(reader)->take_header({line, size * count});
  return size * count;
}

size_t on_body(char* bytes, size_t size, size_t count, void* reader) {
  return static_cast<Reader*>(reader)->take({bytes, size * count}) ? size * count : 0;
}

int on_progress(void* reader, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return static_cast<Reader*>(reader)->cancelled() ? 1 : 0;
}

struct Outcome {
  CURLcode code = CURLE_OK;
  long status = 0;
};

Outcome post(const EndpointOptions& options, const std::string& body, Reader& reader) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  const std::unique_ptr<CURL, void (*)(CURL*)> curl(ready == CURLE_OK ? curl_easy_init() : nullptr,
                                                    curl_easy_cleanup);
  if (!curl) fail("libcurl does not start");
  const std::string address = options.url + "/chat/completions";
  std::unique_ptr<curl_slist, void (*)(curl_slist*)> headers(nullptr, curl_slist_free_all);
  std::vector<std::string> lines = {"Content-Type: application/json", "Accept: text/event-stream", "Expect:"};
  if (!options.key.empty()) lines.push_back("Authorization: Bearer " + options.key);
  for (const std::string& line : lines) headers.reset(curl_slist_append(headers.release(), line.c_str()));
  const auto set = [&](CURLoption option, auto value) {
    if (curl_easy_setopt(curl.get(), option, value) != CURLE_OK)
      fail("{}: libcurl does not take it", printable(options.url));
  };
  set(CURLOPT_URL, address.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_HTTPHEADER, headers.get());
  set(CURLOPT_POSTFIELDS, body.c_str());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
  set(CURLOPT_USERAGENT, "dvlm");
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_CONNECTTIMEOUT_MS, 15000L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(1000 * options.timeout));
  set(CURLOPT_HEADERFUNCTION, on_header);
  set(CURLOPT_HEADERDATA, &reader);
  set(CURLOPT_WRITEFUNCTION, on_body);
  set(CURLOPT_WRITEDATA, &reader);
  set(CURLOPT_XFERINFOFUNCTION, on_progress);
  set(CURLOPT_XFERINFODATA, &reader);
  set(CURLOPT_NOPROGRESS, 0L);
  Outcome out;
  out.code = curl_easy_perform(curl.get());
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &out.status);
  return out;
}

// What the body of a refusal says, as far as it says anything.
std::string message_of(const std::string& body) {
  try {
    const json refusal = parse_json(body, "");
    const json& error = refusal.contains("error") ? refusal["error"] : refusal;
    for (const char* key : {"message", "detail"})
      if (error.is_object() && error.contains(key) && error[key].is_string()) return error[key];
    if (error.is_string()) return error;
  } catch (const std::exception&) {
  }
  return body.empty() ? "without a word" : printable(body);
}

// Why another try may help; empty: it was answered.
std::string failure_of(const EndpointOptions& options, const Outcome& outcome, Reader& reader) {
  constexpr std::array<long, 4> kForAll = {401, 403, 404, 405};  // of keys, models and addresses
  if (std::ranges::find(kForAll, outcome.status) != kForAll.end())
    fail("{} answers with status {}: {}", options.url, outcome.status, message_of(reader.body));
  constexpr std::array<long, 3> kBusy = {408, 425, 429};
  if (outcome.status >= 500 || std::ranges::find(kBusy, outcome.status) != kBusy.end())
    return fmt::format("it answers with status {}: {}", outcome.status, message_of(reader.body));
  if (outcome.status >= 400)
    throw EndpointRefusal(
        fmt::format("{} refuses with status {}: {}", options.url, outcome.status, message_of(reader.body)));
  if (outcome.status >= 300) fail("{} answers with a redirect ({})", options.url, outcome.status);
  const bool whole = !reader.stream && outcome.code == CURLE_OK;
  if (whole) reader.take_whole();
  if (!reader.refusal.empty())
    throw EndpointRefusal(fmt::format("{} refuses: {}", options.url, printable(reader.refusal)));
  if (!reader.problem.empty())
    return (whole ? "what it answers is no chat completion: " : "it answers with an error: ") +
           reader.problem;
  if (reader.stream && reader.ended) return "";  // whatever became of the connection
  if (outcome.code == CURLE_OPERATION_TIMEDOUT)
    return fmt::format("no whole answer came within {:.0f} s", options.timeout);
  if (outcome.code != CURLE_OK) return curl_easy_strerror(outcome.code);
  return reader.ended ? "" : "its answer breaks off";
}

bool wait(double seconds, const std::function<bool()>& cancelled) {
  for (const Clock::time_point start = Clock::now(); seconds_since(start) < seconds;) {
    if (cancelled && cancelled()) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return true;
}

}  // namespace

RequestPace::RequestPace(double per_minute)
    : between_(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(60 / per_minute))),
      next_(Clock::now()) {}

bool RequestPace::wait(const std::function<bool()>& cancelled) {
  std::unique_lock lock(mutex_);
  const Clock::time_point turn = std::max(next_, Clock::now());
  next_ = turn + between_;
  lock.unlock();
  return dvlm::wait(std::chrono::duration<double>(turn - Clock::now()).count(), cancelled);
}

std::string key_from_environment(const std::string& variable) {
  const char* key = std::getenv(variable.c_str());
  if (key == nullptr || *key == '\0') fail("the variable {} holds no key", printable(variable));
  const std::string_view text = trim(key);
  if (!std::ranges::all_of(text, [](char c) { return c > ' ' && c < 127; }))
    fail("the variable {} holds what is no key: spaces or other than ASCII", printable(variable));
  return std::string(text);
}

json endpoint_messages(const Conversation& conversation) {
  json messages = json::array();
  for (const Message& message : conversation) {
    json content = json::array();
    for (const ContentPart& part : message.content) {
      if (part.type == ContentPart::Type::video) fail("endpoints are asked about pictures, not videos");
      if (part.type == ContentPart::Type::text)
        content.push_back({{"type", "text"}, {"text", part.text}});
      else
        content.push_back({{"type", "image_url"}, {"image_url", {{"url", picture_url(part.source)}}}});
    }
    messages.push_back({{"role", message.role}, {"content", std::move(content)}});
  }
  return messages;
}

EndpointAnswer ask_endpoint(const EndpointOptions& options, json body,
                            const std::function<bool()>& cancelled) {
  constexpr double kLongestWait = 60;
  body["model"] = options.model;
  body["stream"] = true;
  body["stream_options"] = {{"include_usage", true}};
  const std::string text = body.dump();
  double pause = 0.5;
  for (int tries = 1;; ++tries, pause *= 2) {
    if (options.pace && !options.pace->wait(cancelled)) throw Cancelled();
    Reader reader(cancelled);
    const Outcome outcome = post(options, text, reader);
    if (cancelled && cancelled()) throw Cancelled();
    const std::string failure = failure_of(options, outcome, reader);
    if (failure.empty()) {
      if (!reader.stream) reader.answer.first_ms = reader.answer.total_ms;  // it came in one piece
      return std::move(reader.answer);
    }
    if (tries == options.tries) fail("{}: {} (the last of {} tries)", options.url, failure, tries);
    if (!wait(std::min(std::max(pause, reader.wait_s), kLongestWait), cancelled)) throw Cancelled();
  }
}

}  // namespace dvlm
