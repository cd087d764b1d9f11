#include "evaluate/metrics.h"

#include <gmock/gmock.h>

#include "core/error.h"
#include "evaluate/report.h"

namespace dvlm {
namespace {

TEST(Metrics, ShortAnswersIgnoreCaseAndTheFinalStop) {
  EXPECT_EQ(score(Metric::exact, "a hammer", " A hammer.\n"), 1);
  EXPECT_EQ(score(Metric::exact, "a hammer", "a hammer and a key"), 0);
  EXPECT_EQ(score(Metric::exact, "2", "12"), 0);
  EXPECT_EQ(normalised_answer(" . "), ".");
}

TEST(Metrics, BoxesMatchByLabelAndOverlap) {
  const std::string expected = "```json\n[{\"bbox_2d\": [10, 10, 50, 50], \"label\": \"key\"}]\n```";
  EXPECT_EQ(score(Metric::boxes, expected, "[{\"bbox_2d\": [12, 10, 52, 50], \"label\": \"key\"}]"), 1);
  EXPECT_EQ(score(Metric::boxes, expected, "[{\"bbox_2d\": [12, 10, 52, 50], \"label\": \"mug\"}]"), 0);
  EXPECT_EQ(score(Metric::boxes, expected, "[{\"bbox_2d\": [40, 40, 80, 80], \"label\": \"key\"}]"), 0);
  EXPECT_EQ(score(Metric::boxes, expected, "nonsense ["), 0);
  EXPECT_EQ(score(Metric::boxes, "[]", "[]"), 1);
  EXPECT_EQ(score(Metric::boxes, "[]", "no idea at all"), 0);
  EXPECT_EQ(score(Metric::boxes, "None.", "none"), 1);
  EXPECT_EQ(score(Metric::boxes, expected, "[{\"bbox_2d\": [1, 2, \"x\", 4]}]"), 0);
  EXPECT_DOUBLE_EQ(intersection_over_union({0, 0, 10, 10, ""}, {5, 0, 15, 10, ""}), 1.0 / 3);
}

TEST(Metrics, EachBoxCountsOnce) {
  const LabelledBox box{0, 0, 10, 10, "key"};
  EXPECT_DOUBLE_EQ(box_f1({box}, {box, box}), 2.0 / 3);
  EXPECT_DOUBLE_EQ(box_f1({box, {20, 20, 30, 30, "key"}}, {box}), 2.0 / 3);
  EXPECT_DOUBLE_EQ(box_f1({}, {}), 1);
}

TEST(Metrics, LongAnswersCountRightSentences) {
  EXPECT_DOUBLE_EQ(sentence_f1("One. Two. Three.", "One. Two. Four."), 2.0 / 3);
  EXPECT_DOUBLE_EQ(sentence_f1("1. Move left.\n2. Lift.", "1. Move left.\n2. Lift."), 1);
  EXPECT_DOUBLE_EQ(sentence_f1("1. Move left.\n2. Lift.", "1. Move right.\n2. Lift."), 0.5);
  EXPECT_DOUBLE_EQ(sentence_f1("One. One.", "One."), 2.0 / 3);
  EXPECT_DOUBLE_EQ(sentence_f1("Mon is 12. Tue is 7. It says 47.", "Mon is 13. Tue is 7. It says 47."),
                   2.0 / 3)
      << "sentences may end in a number";
}

TEST(Metrics, LinesOfJsonCountByWhatTheySay) {
  const std::string expected =
      "```json\n[\n\t{\"label\": \"Mon\", \"value\": 12},\n\t{\"label\": \"Tue\"}\n]\n```";
  EXPECT_DOUBLE_EQ(sentence_f1(expected, expected), 1);
  EXPECT_DOUBLE_EQ(sentence_f1(expected, "```json\n[\n]\n```"), 0) << "brackets are no answer";
  EXPECT_DOUBLE_EQ(sentence_f1(expected, "{\"label\": \"Mon\", \"value\": 12}"), 2.0 / 3) << "1 of 2, of 1";
  EXPECT_DOUBLE_EQ(sentence_f1("caf\u00e9", "caf\u00e9"), 1);
  EXPECT_DOUBLE_EQ(sentence_f1("\u597d", "\u574f"), 0) << "letters of any script";
}

TEST(Metrics, HaveNames) {
  EXPECT_EQ(metric_from_name("relaxed"), Metric::relaxed);
  EXPECT_EQ(metric_from_name("exact"), Metric::exact);
  EXPECT_EQ(metric_from_name("anls"), Metric::anls);
  try {
    metric_from_name("bleu");
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("bleu"), testing::HasSubstr("sentences")));
  }
}

TEST(Report, GoesBetweenTheMarks) {
  EXPECT_EQ(insert_report("a\n<!-- dvlm eval -->\nold\n<!-- end -->\nb", "new\n"),
            "a\n<!-- dvlm eval -->\nnew\n<!-- end -->\nb");
  EXPECT_THROW(insert_report("no marks", "new"), Error);
}

}  // namespace
}  // namespace dvlm
