// Scores of short answers as VLMEvalKit computes them (dataset/utils/vqa_eval.py of ms-vlmeval 0.0.20).
#pragma once
#include <string>
#include <vector>

namespace dvlm {

// Punctuation of the VQA challenge: gone where it stands beside a space or the text holds a comma between
// digits, else a space; a full stop that stands beside no digit is gone.
std::string without_punctuation(const std::string& text);

// Of TextVQA (Antol et al. 2015): the mean, over the references, of how many of the others the answer equals,
// three being all that count. Both after punctuation, articles, number words and contractions.
double vqa_score(const std::vector<std::string>& references, const std::string& answer);

// Of ChartQA: the best over the references; numbers may differ by 5 %, "40%" is 0.4, other texts are equal
// but for case.
double relaxed_score(const std::vector<std::string>& references, const std::string& answer);

// ANLS of DocVQA: the best over the references of 1 - edit distance / length of the longer text, 0 below a
// half. Case and white space do not count for the distance, but for the length.
double anls_score(const std::vector<std::string>& references, const std::string& answer);

// Of GQA: the share of references that the answer equals, white space around and case aside.
double equal_score(const std::vector<std::string>& references, const std::string& answer);

}  // namespace dvlm
