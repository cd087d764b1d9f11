#include "evaluate/benchmarks.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace dvlm {

using nlohmann::json;

namespace {

struct Benchmark {
  std::string_view prefix;  // of the names of its files
  Rule rule;
};
// The longest prefix counts.
constexpr std::array<Benchmark, 14> kBenchmarks = {{{"AI2D", Rule::choice},
                                                    {"ChartQA", Rule::relaxed},
                                                    {"DocVQA", Rule::anls},
                                                    {"InfoVQA", Rule::anls},
                                                    {"GQA", Rule::equal},
                                                    {"MMBench", Rule::circular},
                                                    {"MMMU", Rule::mmmu},
                                                    {"MMMU_Pro", Rule::mmmu_pro},
                                                    {"MMMU_Pro_V", Rule::vision_alone},
                                                    {"POPE", Rule::yes_no},
                                                    {"RealWorldQA", Rule::choice},
                                                    {"SEEDBench", Rule::choice},
                                                    {"SEEDBench2_Plus", Rule::choice},
                                                    {"TextVQA", Rule::vqa}}};

}  // namespace

Rule rule_of(const std::string& task) {
  const Benchmark* found = nullptr;
  const auto is_of = [&](std::string_view prefix) {  // ChartQA_TEST is ChartQA's, ChartQAPro is another
    return task.starts_with(prefix) && (task.size() == prefix.size() || task[prefix.size()] == '_');
  };
  for (const Benchmark& benchmark : kBenchmarks)
    if (is_of(benchmark.prefix) && (!found || benchmark.prefix.size() > found->prefix.size()))
      found = &benchmark;
  if (found != nullptr) return found->rule;
  std::string names;
  for (const Benchmark& benchmark : kBenchmarks)
    names += fmt::format("{}{}", names.empty() ? "" : ", ", benchmark.prefix);
  fail("no benchmark is called {}; a file's name is, or begins before an underscore with, one of {}",
       printable(task), names);
}

bool may_be_open(Rule rule) {
  return rule == Rule::mmmu || rule == Rule::mmmu_pro || rule == Rule::vision_alone;
}

bool thinks(const std::string& task) {
  return task.find("COT") != std::string::npos;
}

Options options_of(const json& row) {
  Options out;
  for (char letter = 'A'; letter <= 'Z'; ++letter)
    if (const auto text = row.find(std::string(1, letter)); text != row.end()) out[letter] = *text;
  return out;
}

std::string column_of(const json& row, const char* column) {
  const auto found = row.find(column);
  if (found == row.end()) fail("it has no value in the column \"{}\"", column);
  return *found;
}

Options scored_options(Rule rule, const json& row) {
  Options out = options_of(row);
  if (out.contains('A') || !may_be_open(rule)) return out;
  out['A'] = row.value("answer", "nan"), out['B'] = "Other Answers";
  return out;
}

}  // namespace dvlm
