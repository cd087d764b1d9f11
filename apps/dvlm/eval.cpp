// dvlm eval: test files and benchmarks through decoders or an endpoint, as tables.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "command.h"
#include "core/files.h"
#include "core/interrupt.h"
#include "evaluate/agreement.h"
#include "evaluate/answers.h"
#include "evaluate/examples.h"
#include "evaluate/html_report.h"
#include "evaluate/judge.h"
#include "evaluate/picture_url.h"
#include "evaluate/report.h"
#include "options.h"
#include "output.h"

namespace dvlm {

namespace fs = std::filesystem;

namespace {

struct EvalOptions {
  ModelFlags model;
  DecodingOptions decoding;
  std::vector<std::string> tasks;
  std::string data, card, output, report, against, html;
  std::vector<std::string> decoders = {"ar", "mdm", "spec"};
  std::string endpoint, key_variable;
  std::string judge, judge_model, judge_key_variable;
  double timeout = 600;
  int tries = 6;
  double requests_per_minute = 0;
  int64_t limit = 0, min_pixels = 0, max_pixels = 0;
  int parallel = 1, logprobs = -1;
  bool thoughts = false, json = false;
};

std::unique_ptr<TestSet> open_task(const fs::path& file, bool thoughts) {
  if (file.extension() == ".tsv") return open_benchmark(file, thoughts);
  if (thoughts) fail("--cot is for benchmarks of MMMU-Pro, and {} is none", file.string());
  return open_examples(file);
}

// "MMMU_Pro_V_COT" is MMMU_Pro_V.tsv with thoughts.
std::unique_ptr<TestSet> named_task(const std::string& name, const EvalOptions& options) {
  constexpr std::string_view kThoughts = "_COT";
  if (fs::is_regular_file(name)) return open_task(name, options.thoughts);
  if (options.data.empty()) fail("there is no file {}; --data says where benchmarks are", printable(name));
  const fs::path file = fs::path(options.data) / (name + ".tsv");
  if (fs::exists(file) || !name.ends_with(kThoughts)) return open_task(file, options.thoughts);
  return open_task(fs::path(options.data) / (name.substr(0, name.size() - kThoughts.size()) + ".tsv"), true);
}

std::vector<fs::path> benchmarks_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".tsv") files.push_back(it->path());
  if (error) fail("cannot list {}: {}", folder.string(), error.message());
  if (files.empty()) fail("{} holds no benchmark: files that end in .tsv", folder.string());
  std::ranges::sort(files);
  return files;
}

std::vector<std::unique_ptr<TestSet>> open_tasks(const EvalOptions& options) {
  std::vector<std::unique_ptr<TestSet>> out;
  if (options.tasks.empty()) out.push_back(open_task(options.data, options.thoughts));
  for (const std::string& name : options.tasks) {
    if (name == "all")
      for (const fs::path& file : benchmarks_in(options.data.empty() ? "." : options.data))
        out.push_back(open_task(file, options.thoughts));
    else
      out.push_back(named_task(name, options));
  }
  return out;
}

AnswerOptions answer_options(const EvalOptions& options) {
  AnswerOptions out;
  out.limit = options.limit, out.parallel = options.parallel;
  out.min_pixels = options.min_pixels, out.max_pixels = options.max_pixels;
  out.output = options.output;
  return out;
}

std::vector<PredictionSet> answer_by_engine(const EvalOptions& options) {
  const auto tasks = open_tasks(options);
  const EngineOptions engine_flags = engine_options(options.model, options.decoders);
  Engine engine(engine_flags);
  std::vector<DecodeOptions> decoders;
  for (const std::string& name : options.decoders) {
    DecodingOptions decoding = options.decoding;
    decoding.decoder = name;
    decoders.push_back(decode_options(decoding, engine.config()));
    decoders.back().logprobs = options.logprobs;
  }
  AnswerOptions answers = answer_options(options);
  std::error_code error;  // there is a model: it was loaded
  answers.model = fs::canonical(engine_flags.model, error).string();
  // Of a model or an adapter whatever an answer depends on.
  const auto content = [](const fs::path& folder) {
    return folder.empty() ? "" : fingerprint_of_files(folder, {".safetensors", ".json", ".jinja", ".txt"});
  };
  answers.settings = {{"precision", options.model.precision},
                      {"device", options.model.device},
                      {"lora", content(options.model.lora)},
                      {"draft_lora", content(options.model.draft_lora)},
                      {"draft_precision", options.model.draft_precision},
                      {"content", content(engine_flags.model)}};
  std::vector<PredictionSet> out;
  for (const auto& task : tasks)
    for (PredictionSet& set : answer_task(engine, *task, decoders, answers)) out.push_back(std::move(set));
  return out;
}

EndpointOptions endpoint_options(const EvalOptions& options, std::string url, const std::string& model,
                                 const std::string& key_variable) {
  constexpr const char* kUsual = "OPENAI_API_KEY";
  while (url.ends_with('/')) url.pop_back();
  EndpointOptions out{.url = url, .model = model, .timeout = options.timeout, .tries = options.tries};
  if (options.requests_per_minute > 0) out.pace = std::make_shared<RequestPace>(options.requests_per_minute);
  if (!key_variable.empty())
    out.key = key_from_environment(key_variable);
  else if (std::getenv(kUsual) != nullptr)
    out.key = key_from_environment(kUsual);
  return out;
}

std::vector<PredictionSet> answer_by_endpoint(const EvalOptions& options) {
  if (options.model.model.empty()) fail("--endpoint needs --model: what the server calls it");
  const EndpointOptions endpoint =
      endpoint_options(options, options.endpoint, options.model.model, options.key_variable);
  const DecodeOptions& decode = options.decoding.decode;
  nlohmann::json fields = {{"max_tokens", decode.max_tokens},
                           {"temperature", decode.sampling.temperature},
                           {"top_p", decode.sampling.top_p},
                           {"seed", decode.sampling.seed}};
  if (options.logprobs >= 0) fields["logprobs"] = true, fields["top_logprobs"] = options.logprobs;
  std::vector<PredictionSet> out;
  for (const auto& task : open_tasks(options))
    out.push_back(answer_task(endpoint, fields, *task, answer_options(options)));
  return out;
}

// Reads pictures where the questions were when they were answered.
class Pictures {
 public:
  std::vector<std::string> of(const TaskResult& result, const std::string& id) {
    const fs::path file = result.decoders[0].set.header.file;
    std::error_code error;
    if (!fs::exists(file, error)) return {};
    try {
      if (file != file_) open(file);
      const auto found = place_.find(id);
      if (found == place_.end()) return {};
      std::vector<std::string> out;
      for (const Message& message : set_->question(found->second).conversation)
        for (const ContentPart& part : message.content)
          if (part.type == ContentPart::Type::image) out.push_back(picture_url(part.source));
      return out;
    } catch (const Error&) {
      return {};  // a report without a picture is one, too
    }
  }

 private:
  void open(const fs::path& file) {
    file_ = file, place_.clear();
    set_ = open_task(file, false);
    for (int64_t i = 0; i < set_->size(); ++i) place_[set_->id(i)] = i;
  }

  fs::path file_;
  std::unique_ptr<TestSet> set_;
  std::map<std::string, int64_t> place_;
};

void print_agreement(const EvalOptions& options) {
  const auto agreements = compare(read_all_predictions(options.report, TokenScores::read),
                                  read_all_predictions(options.against, TokenScores::read));
  if (options.json)
    print_json(agreement_json(agreements));
  else
    print(agreement_markdown(agreements));
}

void check_logprobs(const EvalOptions& options) {
  if (options.logprobs < 0) return;
  if (options.output.empty()) fail("--logprobs needs --output: the folder that keeps them");
  if (!options.endpoint.empty()) return;
  for (const std::string& name : options.decoders)
    if (!info_of(decoder_kind(name)).lossless)
      fail("--logprobs: tokens of {} come from no causal distribution; choose {} with --decoders", name,
           decoder_choice(true));
}

void eval(const EvalOptions& options) {
  install_interrupt_handler();
  if (options.judge.empty() != options.judge_model.empty())
    fail("--judge and --judge-model go together: where a judge is, and what it is called there");
  if (options.endpoint.empty() && !options.key_variable.empty())
    fail("--key-variable needs --endpoint: whom the key is for");
  const EvalOptions usual;
  if (options.endpoint.empty() && options.judge.empty() &&
      (options.timeout != usual.timeout || options.tries != usual.tries ||
       options.requests_per_minute != usual.requests_per_minute))
    fail("--timeout, --tries and --requests-per-minute are for --endpoint and --judge");
  if (options.judge.empty() && !options.judge_key_variable.empty())
    fail("--judge-key-variable needs --judge: whom the key is for");
  if (!options.against.empty()) {
    if (options.report.empty()) fail("--against needs --report: the answers to compare with");
    return print_agreement(options);
  }
  if (!options.card.empty()) insert_report(read_file(options.card), "");  // before hours of work
  if (std::set(options.decoders.begin(), options.decoders.end()).size() < options.decoders.size())
    fail("--decoders names one twice");
  if (options.report.empty() && options.tasks.empty() && options.data.empty())
    fail("nothing to do: --data names a test file, --task benchmarks, --report a folder of answers");
  check_logprobs(options);
  auto sets = !options.report.empty()     ? read_all_predictions(options.report)
              : !options.endpoint.empty() ? answer_by_endpoint(options)
                                          : answer_by_engine(options);
  if (!options.judge.empty())
    judge_answers(sets,
                  endpoint_options(options, options.judge, options.judge_model, options.judge_key_variable),
                  options.parallel);
  const auto results = results_of(std::move(sets));
  if (interrupted())
    std::fprintf(stderr, "interrupted: the tables count what was answered%s\n",
                 options.output.empty() ? "" : "; the same command goes on");
  if (options.json)
    print_json(report_json(results));
  else
    print(report_markdown(results));
  if (!options.html.empty()) {
    Pictures pictures;
    write_file(options.html, report_html(results, [&](const TaskResult& result, const std::string& id) {
                 return pictures.of(result, id);
               }));
    std::fprintf(stderr, "wrote %s\n", printable(options.html).c_str());
  }
  if (!options.card.empty() && !interrupted())
    write_file(options.card, insert_report(read_file(options.card), report_markdown(results)));
}

void add_question_options(Command command, EvalOptions& options) {
  command.group("Questions");
  command.text("--data", options.data,
               "A test file: conversations with answer and type, in any layout of docs/data.md (dvlm synth "
               "--split test makes some). With --task: the folder of benchmarks");
  command.texts("--task", options.tasks,
                "Benchmarks in VLMEvalKit's files: AI2D_TEST.tsv, or AI2D_TEST with --data, or all");
  command.flag("--cot", options.thoughts, "MMMU-Pro: ask for thoughts before the answer");
  command.choices("--decoders", options.decoders, decoder_names(),
                  "Which decoders, in this order; ar, or else the first, is the base of comparison");
  command.text("-o,--output", options.output,
               "Folder that keeps every answer; the same command goes on where it was stopped");
  command.text("--report", options.report, "Score the answers of such a folder again, without answering")
      .existing();
  command
      .text("--against", options.against,
            "With --report: compare with the answers in this folder, text for text")
      .existing();
  command.number("--limit", options.limit, 1, kAny<int64_t>, "Use only the first N questions (default: all)");
  command.number("--parallel", options.parallel, 1, 64,
                 "How many answers share passes; texts stay the same, tokens per second are those of answers "
                 "beside others. How many requests at once, with --endpoint");
  command.number("--logprobs", options.logprobs, 1, 20,
                 "Keep so many of the likeliest tokens beside each token, for --against");
  command.number("--min-pixels", options.min_pixels, 1, kAny<int64_t>,
                 "Of a picture (default: the checkpoint's)");
  command.number("--max-pixels", options.max_pixels, 1, kAny<int64_t>,
                 "Of a picture (default: the checkpoint's)");
}

void add_server_options(Command command, EvalOptions& options) {
  command.group("Servers");
  command.text("--endpoint", options.endpoint,
               "Ask a server instead: the address of its OpenAI API, up to /v1; --model is its name there");
  command.text("--key-variable", options.key_variable,
               "Variable that holds the key for --endpoint (default: OPENAI_API_KEY, if it is set)");
  command.text("--judge", options.judge,
               "Ask a model what answers mean that no rule reads: the address of its OpenAI API, up to /v1");
  command.text("--judge-model", options.judge_model, "What that server calls the model");
  command.text("--judge-key-variable", options.judge_key_variable,
               "Variable that holds the key for --judge (default: OPENAI_API_KEY, if it is set)");
  command.number("--timeout", options.timeout, 0.1, 86400,
                 "Seconds that an answer of --endpoint or --judge may take");
  command.number("--tries", options.tries, 1, 100, "How often these are asked for an answer");
  command.number("--requests-per-minute", options.requests_per_minute, 0, 1e6,
                 "Most requests that each of these gets in a minute, tries included (0: any)");
}

void add_output_options(Command command, EvalOptions& options) {
  command.group("Output");
  command.text("--html", options.html,
               "Also write a report for a browser: tables, curves, questions with their pictures");
  command.text("--card", options.card,
               "Also put the tables into this file, between <!-- dvlm eval --> and <!-- end -->");
  command.flag("--json", options.json, "Print JSON");
}

void add_exclusions(Command command) {
  // Kept answers are what they are.
  command.excludes("--report",
                   {"--task",         "--data",      "--endpoint",   "--output",      "--limit",
                    "--decoders",     "--cot",       "--logprobs",   "--model",       "--lora",
                    "--draft-lora",   "--device",    "--precision",  "--packed",      "--draft-precision",
                    "--memory-limit", "--threads",   "--block-size", "--branches",    "--draft-p-min",
                    "--threshold",    "--sub-block", "--max-tokens", "--temperature", "--top-k",
                    "--top-p",        "--seed",      "--min-pixels", "--max-pixels"});
  command.excludes("--against", {"--judge", "--logprobs", "--html", "--card"});  // it compares what is kept
  // A server has its own.
  command.excludes("--endpoint",
                   {"--decoders", "--min-pixels", "--max-pixels", "--lora", "--draft-lora", "--device",
                    "--precision", "--draft-precision", "--packed", "--threads", "--memory-limit",
                    "--block-size", "--branches", "--draft-p-min", "--threshold", "--sub-block", "--top-k"});
}

}  // namespace

void add_eval(Command app) {
  auto options = std::make_shared<EvalOptions>();
  Command command = app.add("eval", "Answer test files or benchmarks; print accuracy and speed");
  add_question_options(command, *options);
  add_server_options(command, *options);
  add_model_options(command, options->model);
  command.group("Decoding");
  add_decoding_options(command, options->decoding);
  add_output_options(command, *options);
  add_exclusions(command);
  command.runs([options] { eval(*options); },
               "Examples:\n"
               "  dvlm eval --data data/tiny/test/data.jsonl --decoders ar,mdm,spec\n"
               "  dvlm eval --task DocVQA_VAL.tsv -m Fast_dVLM_3B -n 2048 --output results\n"
               "  dvlm eval --task all --data ~/LMUData -m Fast_dVLM_3B -n 2048 --output results\n"
               "  dvlm eval --task AI2D_TEST.tsv --endpoint http://localhost:30000/v1 -m qwen --parallel 8\n"
               "  dvlm eval --report results --judge https://api.example.com/v1 --judge-model large\n"
               "  dvlm eval --report results --html report.html\n"
               "  dvlm eval --report results --against results-fp8");
}

}  // namespace dvlm
