// Answers to the questions of a task: from an engine with several decoders, or from an endpoint.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "evaluate/endpoint.h"
#include "evaluate/predictions.h"
#include "evaluate/tasks.h"

namespace dvlm {

// Answers the requests request_of(0) .. request_of(count - 1) and gives each answer to `take`, in order. With
// `parallel` above 1 so many are under way at a time and share passes: their texts are the same, their times
// are those of answers beside others. `refuse`, in place of `take`, gets those that cannot be answered, with
// the reason. Stops when interrupted(). `on_progress` hears of the work before texts begin, and with parallel
// answers of one of them at a time.
void answer_all(Engine& engine, size_t count, int parallel, const std::function<Request(size_t)>& request_of,
                const std::function<void(size_t, const Answer&)>& take,
                const std::function<void(size_t, const std::string&)>& refuse,
                const std::function<void(const WorkProgress&)>& on_progress = {});

// NOLINTNEXTLINE(bugprone-exception-escape): moves of the JSON library assert
struct AnswerOptions {
  int64_t limit = 0;  // of questions; 0: all
  int parallel = 1;
  std::string model = {};        // as predictions name it
  nlohmann::json settings = {};  // of the model that may change an answer
  int64_t min_pixels = 0, max_pixels = 0;
  std::filesystem::path output = {};  // folder that keeps predictions; empty: none does
};

// One pass over the questions, each with every decoder in turn; a set for each of these, in their order. What
// `output` holds already is not answered again. A question that cannot be answered, being too long, say, has
// an empty answer with the finish reason "refused: ..."; where the first eight or all are refused, that is an
// Error, and refused ones are asked again when a run goes on. Stops between answers when interrupted() and
// returns what is there. Shows a progress bar.
std::vector<PredictionSet> answer_task(Engine& engine, const TestSet& task,
                                       const std::vector<DecodeOptions>& decoders,
                                       const AnswerOptions& options);

// The same by an endpoint, in requests with these further fields; one set.
PredictionSet answer_task(const EndpointOptions& endpoint, const nlohmann::json& fields, const TestSet& task,
                          const AnswerOptions& options);

}  // namespace dvlm
