// What is known of the machine and of the user's folders.
#pragma once
#include <cstddef>
#include <filesystem>
#include <string>

namespace dvlm {

std::string processor_name();  // "AMD EPYC 9R14", ARM's "0x41 0x1 0xd40", or "unknown processor"

// Bytes that control groups (version 2) leave to a process: `membership` is the text of its
// /proc/self/cgroup, `root` where groups are mounted. What files take is counted as free, since it is given
// back. SIZE_MAX: no limit is known.
size_t group_memory_bytes(const std::filesystem::path& root, const std::string& membership);

// How many processors' time they leave to it, rounded up. INT_MAX: no limit is known.
int group_processors(const std::filesystem::path& root, const std::string& membership);
int processor_quota();  // of this process

size_t available_memory_bytes();  // what the kernel says may still be allocated; SIZE_MAX when unknown

// Where dvlm may keep what it would have to compute anew: the folder that DVLM_CACHE names, else dvlm in
// XDG_CACHE_HOME or in ~/.cache. Empty: nowhere, which is also what an empty DVLM_CACHE says. Nothing is
// made.
std::filesystem::path cache_folder();

}  // namespace dvlm
