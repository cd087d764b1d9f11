#include "evaluate/agreement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "message_of.h"

namespace dvlm {
namespace {

PredictionSet answers(const std::string& decoder, const std::vector<std::string>& texts) {
  PredictionSet out;
  out.header.task = "GQA", out.header.decoder = decoder;
  for (size_t i = 0; i < texts.size(); ++i) {
    Prediction prediction;
    prediction.id = std::to_string(i), prediction.answer = texts[i];
    out.predictions.push_back(prediction);
  }
  return out;
}

TEST(Agreement, SaysWhereTextsPart) {
  const auto all = compare({answers("ar", {"yes", "", "caf\u00e9 red", "left"})},
                           {answers("mdm", {"no"}), answers("ar", {"yes", "", "caf\u00e8 red"})});
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].answers, 3) << "of questions that both answered";
  EXPECT_EQ(all[0].identical, 2);
  EXPECT_DOUBLE_EQ(all[0].common, (1 + 1 + 3.0 / 9) / 3);
  ASSERT_EQ(all[0].differences.size(), 1u);
  EXPECT_EQ(all[0].differences[0].id, "2");
  EXPECT_EQ(all[0].differences[0].character, 3u) << "no half of a character";
  EXPECT_EQ(all[0].differences[0].theirs, "\u00e8 red");
  EXPECT_THAT(agreement_markdown(all), testing::HasSubstr("| GQA | ar | ar | 3 | 2 | 77.8 % |"));
}

TEST(Agreement, AnEndpointStandsForAllDecoders) {
  const std::vector<PredictionSet> endpoint = {answers("endpoint", {"a"})};
  EXPECT_EQ(compare({answers("ar", {"a"}), answers("spec", {"b"})}, endpoint).size(), 2u);
  PredictionSet other = answers("ar", {"a"});
  other.header.task = "POPE";
  EXPECT_THAT(message_of([&] { compare({other}, endpoint); }), testing::HasSubstr("in common"));
}

}  // namespace
}  // namespace dvlm
