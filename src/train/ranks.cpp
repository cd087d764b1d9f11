#include "train/ranks.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>

// The wheel holds Gloo and not its headers, which this header of c10d needs for declarations alone: they are
// Debian's.
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include "core/ascii.h"
#include "core/error.h"
#include "core/interrupt.h"

namespace dvlm {

namespace {

constexpr int kMost = 1 << 16;                       // processes
constexpr auto kTimeout = std::chrono::minutes(30);  // a process may read data for long

int number_of(const char* name, int low, int high) {
  const char* text = std::getenv(name);
  const std::string_view given = text ? text : "";
  int value = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (error != std::errc{} || end != given.data() + given.size() || value < low || value > high)
    fail("the variable {} must be a number from {} to {}, got \"{}\": start the processes with torchrun",
         name, low, high, printable(given));
  return value;
}

// A name, an IPv4 or an IPv6 address.
bool is_of_host(char c) {
  const bool letter = lower(c) >= 'a' && lower(c) <= 'z', digit = c >= '0' && c <= '9';
  return letter || digit || std::string_view(".-_:%").find(c) != std::string_view::npos;
}

// The first line of what a library throws: stacks follow.
std::string first_line(const std::exception& error) {
  const std::string what = error.what();
  return what.substr(0, what.find('\n'));
}

template <class Call>
auto together(const Call& call) {
  try {
    return call();
  } catch (const std::exception& error) {
    if (interrupted()) fail("training was interrupted");
    fail(
        "another process of the run is gone, or cannot be reached ({}): start all of them again with "
        "--resume",
        printable(first_line(error), 200));
  }
}

}  // namespace

class Ranks::Group {
 public:
  Group(int rank, int size, const std::string& address, int port) {
    c10d::TCPStoreOptions options;
    options.port = static_cast<uint16_t>(port), options.isServer = rank == 0, options.numWorkers = size;
    options.timeout = std::chrono::minutes(5);
    // torchrun has a store of its own at this port, which serves us, too.
    if (const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
        agent && std::string(agent) == "True")
      options.isServer = false;
    store_ = c10::make_intrusive<c10d::TCPStore>(address, options);
    const auto gloo = c10d::ProcessGroupGloo::Options::create(kTimeout);
    gloo->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    const char* restarts = std::getenv("TORCHELASTIC_RESTART_COUNT");
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
        c10::make_intrusive<c10d::PrefixStore>(std::string("dvlm ") + (restarts ? restarts : ""), store_),
        rank, size, gloo);
  }
  c10d::ProcessGroupGloo* operator->() const { return group_.get(); }

 private:
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

int Ranks::size_in_environment() {
  return std::getenv("WORLD_SIZE") ? number_of("WORLD_SIZE", 1, kMost) : 1;
}

int Ranks::processes_here() {
  const int all = size_in_environment();
  return all > 1 && std::getenv("LOCAL_WORLD_SIZE") ? number_of("LOCAL_WORLD_SIZE", 1, all) : 1;
}

Ranks Ranks::of_environment() {
  Ranks out;
  out.size_ = size_in_environment();
  if (out.size_ == 1) return out;
  out.rank_ = number_of("RANK", 0, out.size_ - 1);
  const char* set = std::getenv("MASTER_ADDR");
  const std::string address = set ? set : "";
  // c10d would look for a host of any name for minutes.
  if (address.empty() || !std::ranges::all_of(address, is_of_host))
    fail("the variable MASTER_ADDR must name a host, got \"{}\": start the processes with torchrun",
         printable(address));
  if (std::getenv("LOCAL_RANK")) number_of("LOCAL_RANK", 0, kMost);
  processes_here();  // names its variable, too
  const int port = number_of("MASTER_PORT", 1, 65535);
  out.group_ = together([&] { return std::make_shared<Group>(out.rank_, out.size_, address, port); });
  return out;
}

std::vector<int64_t> Ranks::sum(std::vector<int64_t> values) const {
  if (!group_) return values;
  values.push_back(0);  // a collective of nothing waits for nobody
  std::vector<torch::Tensor> tensors = {torch::tensor(values, torch::kInt64)};
  together([&] { return (*group_)->allreduce(tensors)->wait(); });
  values.assign(tensors[0].data_ptr<int64_t>(), tensors[0].data_ptr<int64_t>() + values.size() - 1);
  return values;
}

std::vector<torch::Tensor> Ranks::exchange(const torch::Tensor& all) const {
  if (!group_) return {all};
  torch::Tensor sent = all.to(torch::kCPU), got = torch::empty_like(sent);
  std::vector<int64_t> equal;
  together([&] { return (*group_)->alltoall_base(got, sent, equal, equal, {})->wait(); });
  return got.to(all.device()).chunk(size_);
}

torch::Tensor Ranks::gather(const torch::Tensor& own) const {
  if (!group_) return own;
  torch::Tensor sent = own.to(torch::kCPU).contiguous();
  torch::Tensor got = torch::empty({own.numel() * size_}, sent.options());
  together([&] { return (*group_)->_allgather_base(got, sent, {})->wait(); });
  return got.to(own.device());
}

}  // namespace dvlm
