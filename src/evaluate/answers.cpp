#include "evaluate/answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "core/checksum.h"
#include "core/error.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "core/memory.h"
#include "core/progress.h"
#include "engine/scheduler.h"
#include "evaluate/ask_in_parallel.h"

namespace dvlm {

using nlohmann::json;

namespace {

void answer_alone(Engine& engine, size_t count, const std::function<Request(size_t)>& request_of,
                  const std::function<void(size_t, const Answer&)>& take,
                  const std::function<void(size_t, const std::string&)>& refuse,
                  const std::function<void(const WorkProgress&)>& on_progress) {
  for (size_t i = 0; i < count; ++i) {
    const Request request = request_of(i);
    std::optional<Answer> answer;
    std::string reason;
    try {
      answer = engine.generate(request, {}, interrupted, on_progress);
    } catch (const Error& error) {
      reason = error.what();
    }
    if (interrupted()) return;
    answer ? take(i, *answer) : refuse(i, reason);
  }
}

// Why it was refused, or "". Nothing when interrupted before its end.
std::optional<std::string> wait_for(RequestHandle& handle,
                                    const std::function<void(const WorkProgress&)>& on_progress) {
  using namespace std::chrono_literals;
  while (!interrupted()) {
    const RequestHandle::Update update = handle.wait(100ms);
    if (!update.progress.empty() && on_progress) on_progress(update.progress.back());
    if (update.server_fault) fail("{}", update.error);
    if (update.done || !update.error.empty()) return update.error;
  }
  return {};
}

}  // namespace

void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(size_t, const std::string&)>& refuse,
                const std::function<void(const WorkProgress&)>& on_progress) {
  if (parallel <= 1) return answer_alone(engine, count, request_of, take, refuse, on_progress);
  const size_t ahead = 2 * static_cast<size_t>(parallel);  // whose images are read while others run
  Scheduler scheduler(engine.generator(), {.max_batch = parallel, .max_waiting = ahead});
  std::deque<std::shared_ptr<RequestHandle>> handles;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    for (; next < count && handles.size() < ahead; ++next)
      handles.push_back(scheduler.submit(request_of(next)));
    const auto reason = wait_for(*handles.front(), on_progress);
    if (!reason) return;
    reason->empty() ? take(i, handles.front()->answer()) : refuse(i, *reason);
    handles.pop_front();
  }
}

namespace {

// Predictions of one decoder: those that are kept already, and those that come.
class Column {
 public:
  Column(const PredictionHeader& header, const AnswerOptions& options) {
    set_.header = header;
    if (options.output.empty()) return;
    writer_.emplace(options.output, header);
    set_ = writer_->take_held();
    for (size_t i = 0; i < set_.predictions.size(); ++i) places_[set_.predictions[i].id] = i;
  }

  // Refused ones are asked again.
  bool holds(const std::string& id) const {
    const auto place = places_.find(id);
    return place != places_.end() && !is_refused(set_.predictions[place->second]);
  }
  // Throws Error where a server, or a model, refuses whatever it is asked: that is no result.
  void add(Prediction prediction) {
    constexpr size_t kAll = 8;
    if (writer_) writer_->append(prediction);
    prediction.scores = {};  // of no use but in the file
    const auto [place, is_new] = places_.emplace(prediction.id, set_.predictions.size());
    if (is_new)
      set_.predictions.push_back(std::move(prediction));
    else
      set_.predictions[place->second] = std::move(prediction);  // as read_predictions() has it
    if (++added_ == kAll) refuse_refusals();
  }
  // Throws Error where nothing but refusals came.
  PredictionSet take() {
    if (!interrupted()) refuse_refusals();
    return std::move(set_);
  }

 private:
  void refuse_refusals() const {
    if (!set_.predictions.empty() && std::ranges::all_of(set_.predictions, is_refused))
      fail("all of the first {} questions were {}", set_.predictions.size(), set_.predictions.front().finish);
  }

  std::optional<PredictionWriter> writer_;
  PredictionSet set_;
  std::map<std::string, size_t> places_;  // of answers by their ids
  size_t added_ = 0;
};

int64_t count_of(const TestSet& task, const AnswerOptions& options) {
  return options.limit > 0 ? std::min(options.limit, task.size()) : task.size();
}

std::string file_of(const TestSet& task) {
  std::error_code ignored;
  return std::filesystem::absolute(task.file(), ignored).string();
}

// Answers are kept by them.
void check_ids(const TestSet& task, const AnswerOptions& options) {
  std::set<std::string> ids;
  for (int64_t i = 0; i < count_of(task, options); ++i) {
    const std::string id = task.id(i);
    if (id.empty()) fail("{}: question {} has an empty id", task.file().string(), i + 1);
    if (!ids.insert(id).second)
      fail("{}: two questions have the id \"{}\"", task.file().string(), printable(id));
  }
}

json settings_of(const DecodeOptions& decode, const AnswerOptions& options, const std::string& questions) {
  json out = options.settings;
  out["block_size"] = decode.block_size, out["max_tokens"] = decode.max_tokens;
  out["threshold"] = decode.threshold, out["sub_block"] = decode.sub_block;
  out["branches"] = decode.branches, out["draft_p_min"] = decode.draft_p_min;
  out["temperature"] = decode.sampling.temperature, out["top_k"] = decode.sampling.top_k;
  out["top_p"] = decode.sampling.top_p, out["seed"] = decode.sampling.seed;
  out["min_pixels"] = options.min_pixels, out["max_pixels"] = options.max_pixels;
  if (decode.logprobs >= 0) out["logprobs"] = decode.logprobs;
  out["questions"] = questions;
  return out;
}

TokenScore score_of(const TokenLogprob& token, const Tokenizer& tokenizer) {
  const auto scored = [&](TokenId id, float logprob) -> ScoredToken {
    return {tokenizer.decode({&id, 1}, false), logprob};
  };
  TokenScore out{scored(token.token, token.logprob)};
  for (const auto& [id, logprob] : token.top) out.top.push_back(scored(id, logprob));
  return out;
}

void describe(Prediction& prediction, const Answer& answer, const Tokenizer& tokenizer) {
  prediction.answer = answer.text;
  prediction.finish = name_of(answer.finish);
  prediction.digest = fmt::format("{:016x}", checksum(std::as_bytes(std::span(answer.tokens))));
  prediction.prompt_tokens = answer.prompt_tokens;
  prediction.tokens = std::ssize(answer.tokens);
  prediction.nfe = answer.stats.nfe, prediction.rounds = answer.stats.rounds;
  prediction.prefill_passes = answer.stats.prefill_passes;
  prediction.first_ms = answer.encode_ms + answer.prefill_ms, prediction.decode_ms = answer.decode_ms;
  prediction.total_ms = prediction.first_ms + prediction.decode_ms;
  prediction.peak_memory = static_cast<int64_t>(peak_rss_bytes());
  for (const TokenLogprob& token : answer.all_logprobs())
    prediction.scores.push_back(score_of(token, tokenizer));
}

struct Asked {
  int64_t question = 0;
  size_t decoder = 0;
};

// What no column holds; a question's decoders side by side, so that its pictures are encoded once.
std::vector<Asked> open_of(const TestSet& task, const AnswerOptions& options,
                           const std::vector<Column>& columns) {
  std::vector<Asked> out;
  for (int64_t i = 0; i < count_of(task, options); ++i)
    for (size_t d = 0; d < columns.size(); ++d)
      if (!columns[d].holds(task.id(i))) out.push_back({i, d});
  return out;
}

std::vector<Column> columns_of(const TestSet& task, const std::vector<DecodeOptions>& decoders,
                               const AnswerOptions& options) {
  const std::string questions = fingerprint_of_file(task.file());
  std::vector<Column> out;
  out.reserve(decoders.size());
  for (const DecodeOptions& decode : decoders)
    out.emplace_back(PredictionHeader{task.name(), options.model, std::string(name_of(decode.kind)),
                                      settings_of(decode, options, questions), file_of(task)},
                     options);
  return out;
}

// A question's later decoders find its pictures and prompt computed: all are charged for them.
class PromptCharge {
 public:
  void put_on(Prediction& prediction) {
    if (id_ != prediction.id) id_ = prediction.id, ms_ = 0, passes_ = 0;
    ms_ = std::max(ms_, prediction.first_ms);
    passes_ = std::max(passes_, prediction.prefill_passes);
    prediction.first_ms = ms_, prediction.prefill_passes = passes_;
    prediction.total_ms = ms_ + prediction.decode_ms;
  }

 private:
  std::string id_;
  double ms_ = 0;
  int64_t passes_ = 0;
};

void say_kept(Progress& progress, int64_t kept, const AnswerOptions& options) {
  if (kept > 0) progress.say(fmt::format("{} answers are in {} already", kept, options.output.string()));
}

}  // namespace

std::vector<PredictionSet> answer_task(Engine& engine, const TestSet& task,
                                       const std::vector<DecodeOptions>& decoders,
                                       const AnswerOptions& options) {
  check_ids(task, options);
  std::vector<Column> columns = columns_of(task, decoders, options);
  const std::vector<Asked> open = open_of(task, options, columns);
  const int64_t kept = count_of(task, options) * std::ssize(decoders) - std::ssize(open);
  Progress progress(task.name(), kept + std::ssize(open));
  say_kept(progress, kept, options);
  int64_t done = kept, read = -1;
  TestQuestion question;
  std::deque<Prediction> under_way;
  const auto request_of = [&](size_t i) {
    if (open[i].question != read) question = task.question(read = open[i].question);
    under_way.emplace_back();
    under_way.back().id = question.id, under_way.back().question = question.row;
    Request request;
    request.conversation = question.conversation;
    request.decode = decoders[open[i].decoder];
    request.min_pixels = options.min_pixels, request.max_pixels = options.max_pixels;
    return request;
  };
  PromptCharge charge;
  const auto add = [&](size_t i) {
    columns[open[i].decoder].add(std::move(under_way.front()));
    under_way.pop_front();
    progress.update(++done);
  };
  const auto take = [&](size_t i, const Answer& answer) {
    describe(under_way.front(), answer, engine.tokenizer());
    charge.put_on(under_way.front());
    add(i);
  };
  const auto refuse = [&](size_t i, const std::string& reason) {
    under_way.front().finish = fmt::format("refused: {}", reason);
    add(i);
  };
  answer_all(engine, open.size(), options.parallel, request_of, take, refuse,
             [&](const WorkProgress& work) { progress.update(done, note_of(work)); });
  std::vector<PredictionSet> out;
  out.reserve(columns.size());
  for (Column& column : columns) out.push_back(column.take());
  return out;
}

namespace {

Prediction ask(const EndpointOptions& endpoint, const json& fields, const TestQuestion& question) {
  Prediction out;
  out.id = question.id, out.question = question.row;
  json body = fields;
  body["messages"] = endpoint_messages(question.conversation);
  try {
    const EndpointAnswer answer = ask_endpoint(endpoint, std::move(body), interrupted);
    out.answer = answer.text, out.finish = answer.finish_reason;
    out.digest = fmt::format("{:016x}", checksum(answer.text));
    out.prompt_tokens = answer.prompt_tokens, out.tokens = answer.tokens;
    out.first_ms = answer.first_ms, out.total_ms = answer.total_ms;
    out.decode_ms = answer.total_ms - answer.first_ms;
    out.scores = answer.scores;
  } catch (const EndpointRefusal& error) {
    out.finish = fmt::format("refused: {}", error.what());
  }
  return out;
}

}  // namespace

PredictionSet answer_task(const EndpointOptions& endpoint, const json& fields, const TestSet& task,
                          const AnswerOptions& options) {
  check_ids(task, options);
  json settings = fields;
  settings["endpoint"] = endpoint.url;
  settings["questions"] = fingerprint_of_file(task.file());
  Column column({task.name(), endpoint.model, "endpoint", settings, file_of(task)}, options);
  std::vector<int64_t> open;
  for (int64_t i = 0; i < count_of(task, options); ++i)
    if (!column.holds(task.id(i))) open.push_back(i);
  const int64_t kept = count_of(task, options) - std::ssize(open);
  Progress progress(task.name(), count_of(task, options));
  say_kept(progress, kept, options);
  int64_t done = kept;
  try {
    ask_in_parallel(
        open.size(), options.parallel,
        [&](size_t i) { return ask(endpoint, fields, task.question(open[i])); },
        [&](size_t, Prediction prediction) {
          column.add(std::move(prediction));
          progress.update(++done);
        });
  } catch (const Error& error) {
    fail("{}{}", error.what(), options.output.empty() ? "" : "; what was answered is kept");
  }
  return column.take();
}

}  // namespace dvlm
