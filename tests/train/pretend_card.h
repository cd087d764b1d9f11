// A card for machines without one.
#pragma once

namespace dvlm::test {

// Makes LibTorch believe that there is one card, "cuda:0", whose operators are the CPU's. What a real card
// forbids fails: an operator that is given tensors of both devices, and a read of the card's memory from the
// CPU. Its memory begins as NaN. Call it once, before anything else of LibTorch, where LibTorch's GPU half is
// not loaded.
void pretend_card();

}  // namespace dvlm::test
