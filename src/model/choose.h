// The reference chooser: what a wanted row of logits answers, said plainly. Devices choose faster and must
// give the same tokens.
#pragma once
#include "model/model.h"

namespace dvlm {

// `row`: logits [vocab]. Answers by value, but for Chosen::logits, which views the row.
Chosen choose(std::span<const float> row, const Wanted& wanted);

// Throws Error with what the user can do when the row had no token to give.
void check_valid(const Chosen& chosen);

// log(softmax) of a logit, where the largest of the row is `best` and the exponentials of the distances to it
// add up to `sum`. Infinite logits share everything.
float log_softmax(float logit, float best, double sum);

}  // namespace dvlm
