#include "evaluate/report.h"

#include <fmt/format.h>

#include <chrono>
#include <deque>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "engine/content_hash.h"
#include "engine/scheduler.h"
#include "evaluate/metrics.h"

namespace dvlm {

namespace {

double share(double part, double whole) {
  return whole > 0 ? part / whole : 0;
}

void add(TypeResult& sum, const TypeResult& other) {
  sum.examples += other.examples, sum.score += other.score, sum.identical += other.identical;
  sum.tokens += other.tokens, sum.nfe += other.nfe, sum.rounds += other.rounds,
      sum.decode_ms += other.decode_ms;
}

TypeResult measure(const Example& example, const Answer& answer, const std::vector<TokenId>& base) {
  TypeResult result;
  result.examples = 1;
  result.score = score(example.metric, example.answer, answer.text);
  result.identical = answer.tokens == base;
  result.tokens = std::max(0, static_cast<int>(answer.tokens.size()) - 1);  // prefill gave the first
  result.nfe = answer.stats.nfe, result.rounds = answer.stats.rounds, result.decode_ms = answer.decode_ms;
  return result;
}

bool any(const std::string&) {
  return true;
}

nlohmann::json sums_json(const TypeResult& sums) {
  return {{"examples", sums.examples},
          {"score", share(sums.score, sums.examples)},
          {"identical", sums.identical},
          {"tokens_per_nfe", share(sums.tokens, sums.nfe)},
          {"tokens_per_s", share(sums.tokens, sums.decode_ms / 1000)}};
}

void answer_alone(Engine& engine, size_t count, const std::function<Request(size_t)>& request_of,
                  const std::function<void(size_t, const Answer&)>& take,
                  const std::function<void(const WorkProgress&)>& on_progress) {
  for (size_t i = 0; i < count; ++i) {
    const Answer answer = engine.generate(request_of(i), {}, interrupted, on_progress);
    if (interrupted()) return;
    take(i, answer);
  }
}

// False when interrupted before its end.
bool wait_for(RequestHandle& handle, const std::function<void(const WorkProgress&)>& on_progress) {
  using namespace std::chrono_literals;
  while (!interrupted()) {
    const RequestHandle::Update update = handle.wait(100ms);
    if (!update.error.empty()) fail("{}", update.error);
    if (update.progress && on_progress) on_progress(*update.progress);
    if (update.done) return true;
  }
  return false;
}

}  // namespace

void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(const WorkProgress&)>& on_progress) {
  if (parallel <= 1) return answer_alone(engine, count, request_of, take, on_progress);
  const size_t ahead = 2 * static_cast<size_t>(parallel);  // whose images are read while others run
  Scheduler scheduler(engine.generator(), {.max_batch = parallel, .max_waiting = ahead});
  std::deque<std::shared_ptr<RequestHandle>> handles;
  size_t next = 0;
  for (size_t i = 0; i < count; ++i) {
    for (; next < count && handles.size() < ahead; ++next)
      handles.push_back(scheduler.submit(request_of(next)));
    if (!wait_for(*handles.front(), on_progress)) return;
    take(i, handles.front()->answer());
    handles.pop_front();
  }
}

TypeResult DecoderResult::total(const std::function<bool(const std::string&)>& wanted) const {
  TypeResult sum;
  for (const auto& [type, result] : types)
    if (wanted(type)) add(sum, result);
  return sum;
}

std::vector<DecoderResult> evaluate(Engine& engine, const std::vector<Example>& examples,
                                    const std::vector<DecodeOptions>& decoders, int parallel) {
  std::vector<DecoderResult> results(decoders.size());
  for (size_t i = 0; i < decoders.size(); ++i) results[i].decode = decoders[i];
  Progress progress("evaluating", static_cast<int64_t>(examples.size()));
  std::vector<Answer> answers;  // of one example: it counts whole or not at all
  const auto request_of = [&](size_t i) {
    Request request;
    request.conversation = examples[i / decoders.size()].conversation;
    request.decode = decoders[i % decoders.size()];
    return request;
  };
  int64_t done = 0;
  const auto take = [&](size_t i, const Answer& answer) {
    answers.push_back(answer);
    progress.update(done, fmt::format("{} of {} decoders", answers.size(), decoders.size()));
    if (answers.size() < decoders.size()) return;
    const Example& example = examples[i / decoders.size()];
    for (size_t d = 0; d < decoders.size(); ++d) {
      const std::vector<TokenId>& tokens = answers[d].tokens;
      const TypeResult result = measure(example, answers[d], answers[0].tokens);
      add(results[d].types[example.type], result);
      if (example.is_long)
        add(results[d].long_answers, result);
      else if (example.metric != Metric::boxes)
        add(results[d].short_answers, result);
      results[d].digest = siphash(results[d].digest, tokens.size(), std::as_bytes(std::span(tokens)));
    }
    answers.clear();
    progress.update(++done);
  };
  answer_all(engine, examples.size() * decoders.size(), parallel, request_of, take,
             [&](const WorkProgress& work) { progress.update(done, note_of(work)); });
  return results;
}

std::string report_markdown(const std::vector<DecoderResult>& results) {
  std::string text = "| question | n |";
  for (const DecoderResult& result : results) text += fmt::format(" {} |", name_of(result.decode.kind));
  text += "\n| --- | ---: |";
  for (size_t i = 0; i < results.size(); ++i) text += " ---: |";
  const auto row = [&](const std::string& title, const auto& sum_of) {
    text += fmt::format("\n| {} | {} |", title, sum_of(results[0]).examples);
    for (const DecoderResult& result : results) {
      const TypeResult sum = sum_of(result);
      text += fmt::format(" {:.1f} % |", 100 * share(sum.score, sum.examples));
    }
  };
  for (const auto& [type, unused] : results[0].types)
    row(type, [name = type](const DecoderResult& result) { return result.types.at(name); });
  row("**all short types**", [](const DecoderResult& result) { return result.short_answers; });
  row("**all**", [](const DecoderResult& result) { return result.total(any); });
  const auto numbers = [&](const std::string& title, const auto& value) {
    text += fmt::format("\n| {} | |", title);
    for (const DecoderResult& result : results) text += " " + value(result) + " |";
  };
  numbers("tokens per pass, long answers", [](const DecoderResult& result) {
    const TypeResult& sum = result.long_answers;
    return fmt::format("{:.2f}", share(sum.tokens, sum.nfe));
  });
  numbers("tokens per second, long answers", [](const DecoderResult& result) {
    const TypeResult& sum = result.long_answers;
    return fmt::format("{:.0f}", share(sum.tokens, sum.decode_ms / 1000));
  });
  numbers(fmt::format("answers identical to {}", name_of(results[0].decode.kind)),
          [](const DecoderResult& result) {
            const TypeResult sum = result.total(any);
            return fmt::format("{} of {}", sum.identical, sum.examples);
          });
  return text + "\n";
}

nlohmann::json report_json(const std::vector<DecoderResult>& results) {
  nlohmann::json out = nlohmann::json::array();
  for (const DecoderResult& result : results) {
    nlohmann::json types;
    for (const auto& [type, sums] : result.types) types[type] = sums_json(sums);
    out.push_back({{"decoder", name_of(result.decode.kind)},
                   {"block_size", result.decode.block_size},
                   {"digest", fmt::format("{:016x}", result.digest)},
                   {"types", types},
                   {"short", sums_json(result.short_answers)},
                   {"long", sums_json(result.long_answers)},
                   {"all", sums_json(result.total(any))}});
  }
  return out;
}

std::string insert_report(const std::string& card, const std::string& report) {
  const std::string begin = "<!-- dvlm eval -->", end = "<!-- end -->";
  const size_t from = card.find(begin);
  const size_t to = from == std::string::npos ? from : card.find(end, from);
  if (to == std::string::npos) fail("the card has no \"{}\" ... \"{}\" to put the table between", begin, end);
  return card.substr(0, from + begin.size()) + "\n" + report + card.substr(to);
}

}  // namespace dvlm
