// Answers many requests of one engine: runs a test file through decoders and adds the results up.
#pragma once
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "evaluate/examples.h"

namespace dvlm {

// Answers the requests request_of(0) .. request_of(count - 1) and gives each answer to `take`, in order. With
// `parallel` above 1 so many are under way at a time and share passes: their texts are the same, their times
// are those of answers beside others. Stops when interrupted(). `on_progress` hears of the work before texts
// begin, and with parallel answers of one of them at a time. Throws Error for a request that cannot be
// answered.
void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(const WorkProgress&)>& on_progress = {});

struct TypeResult {
  int examples = 0;
  double score = 0;                     // sum of score()
  int identical = 0;                    // token for token what the first decoder wrote
  int tokens = 0, nfe = 0, rounds = 0;  // tokens that passes after prefill gave, and those passes
  double decode_ms = 0;
};

struct DecoderResult {
  DecodeOptions decode;
  std::map<std::string, TypeResult> types;
  TypeResult short_answers;  // neither long nor boxes
  TypeResult long_answers;
  uint64_t digest = 0;  // of the tokens of all answers in their order: equal where two runs wrote the same
  TypeResult total(const std::function<bool(const std::string&)>& wanted) const;
};

// One pass over the examples per decoder, the first being the base of "identical"; `parallel`: see
// answer_all(). Stops between examples when interrupted() and returns what was done. Shows a progress bar.
std::vector<DecoderResult> evaluate(Engine& engine, const std::vector<Example>& examples,
                                    const std::vector<DecodeOptions>& decoders, int parallel = 1);

std::string report_markdown(const std::vector<DecoderResult>& results);
nlohmann::json report_json(const std::vector<DecoderResult>& results);

// `card` with the text between "<!-- dvlm eval -->" and "<!-- end -->" replaced. Throws Error without the
// marks.
std::string insert_report(const std::string& card, const std::string& report);

}  // namespace dvlm
