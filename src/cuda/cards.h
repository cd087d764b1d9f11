// NVIDIA's cards, by way of a plugin: the program itself links no CUDA.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "cuda/device.h"

namespace dvlm::cuda {

struct CardInfo {
  char name[256] = {};
  char problem[256] = {};    // why dvlm cannot run on it, behind its name: "has ..."; empty: it can
  size_t memory = 0;         // bytes, all of it
  int major = 0, minor = 0;  // of its instruction set
  int processors = 0;
};

bool has_plugin();  // looks at names of files, no more
// Throw Error with one sentence where there is no plugin, one of another version, no driver or no card.
std::vector<CardInfo> cards();  // takes no memory of theirs
size_t free_bytes(int index);   // asking takes some hundred MiB of that card until the process ends
std::shared_ptr<Device> open_card(int index);

// What the plugin exports, of the same build: `problem` gets a sentence when the answer is -1 or null.
extern "C" {
using CudaVersion = const char*();
using CudaCards = int(CardInfo* to, int most, char* problem, size_t size);
using CudaFree = int(int index, size_t* bytes, char* problem, size_t size);
using CudaOpen = Device*(int index, char* problem, size_t size);
}

}  // namespace dvlm::cuda
