#include "train/ranks.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <exception>
#include <string>
#include <utility>

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

constexpr int kMost = 1 << 16;  // processes

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

// What a library throws, less the stack behind it; NCCL's reason stands in its last line.
std::string reason(const std::exception& error) {
  std::string what = error.what();
  what = what.substr(0, what.find("\nException raised"));
  std::ranges::replace(what, '\n', ' ');
  return printable(what, 600);
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
        reason(error));
  }
}

}  // namespace

struct Ranks::Group {
  c10::intrusive_ptr<c10d::Store> store;
  // What moves tensors that are there; without one of the cards', theirs pass through the host's memory.
  c10::intrusive_ptr<c10d::Backend> host, cards = {};

  ~Group() { end_cards(std::uncaught_exceptions() > 0); }
  // NCCL wants it said. Who ends by an error does not wait for what others still send.
  void end_cards(bool failed) {
    const auto ended = std::exchange(cards, {});
    if (!ended) return;
    try {
      failed ? ended->abort() : ended->shutdown();
    } catch (const std::exception&) {  // they are gone all the same
    }
  }

  c10d::Backend& of(torch::Device device) const { return device.is_cpu() || !cards ? *host : *cards; }
  // Where of() takes them.
  torch::Device way(torch::Device device) const { return cards ? device : torch::kCPU; }
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
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port), options.isServer = out.first(), options.numWorkers = out.size_;
  options.timeout = std::chrono::minutes(5);
  // torchrun has a store of its own at this port, which serves us, too.
  if (const char* agent = std::getenv("TORCHELASTIC_USE_AGENT_STORE"); agent && std::string(agent) == "True")
    options.isServer = false;
  const char* restarts = std::getenv("TORCHELASTIC_RESTART_COUNT");
  const std::string prefix = std::string("dvlm ") + (restarts ? restarts : "");
  const auto store = together([&] { return c10::make_intrusive<c10d::TCPStore>(address, options); });
  return Ranks(out.rank_, out.size_, c10::make_intrusive<c10d::PrefixStore>(prefix, store));
}

Ranks::Ranks(int rank, int size, c10::intrusive_ptr<c10d::Store> store) : rank_(rank), size_(size) {
  const auto options = c10d::ProcessGroupGloo::Options::create(kTimeout);
  options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
  group_ = together([&] {
    auto host = c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, options);
    return std::make_shared<Group>(std::move(store), std::move(host));
  });
}

void Ranks::connect_cards(const OpenBackend& open, torch::Device card) const {
  if (!group_) return;
  const auto attempt = [&](const auto& what) {
    bool failed = false;
    std::string problem;
    try {
      what();
    } catch (const std::exception& error) {
      failed = true, problem = ", this one: " + reason(error);
    }
    const int64_t of_all = sum({failed ? 1 : 0})[0];
    if (of_all == 0) return;
    group_->end_cards(true);
    fail("{} of {} processes cannot connect their cards{}; \"ddp_backend\": \"gloo\" does without", of_all,
         size_, problem);
  };
  attempt([&] {
    group_->cards = open(c10::make_intrusive<c10d::PrefixStore>("cards", group_->store), rank_, size_);
  });
  attempt([&] {
    torch::Tensor own = torch::full({1}, rank_, torch::TensorOptions(card).dtype(torch::kInt64));
    torch::Tensor ranks = torch::full({size_}, -1, own.options());
    group_->cards->_allgather_base(ranks, own, {})->wait();
    torch::Tensor to_each = torch::full({size_}, rank_, own.options()), of_each = torch::full_like(ranks, -1);
    std::vector<int64_t> equal;
    group_->cards->alltoall_base(of_each, to_each, equal, equal, {})->wait();
    const torch::Tensor expected = torch::arange(size_);
    if (!torch::equal(ranks.cpu(), expected) || !torch::equal(of_each.cpu(), expected))
      fail("what they sent one another did not arrive");
  });
}

std::vector<int64_t> Ranks::sum(std::vector<int64_t> values) const {
  if (!group_) return values;
  values.push_back(0);  // a collective of nothing waits for nobody
  std::vector<torch::Tensor> tensors = {torch::tensor(values, torch::kInt64)};
  together([&] { return group_->host->allreduce(tensors)->wait(); });
  values.assign(tensors[0].data_ptr<int64_t>(), tensors[0].data_ptr<int64_t>() + values.size() - 1);
  return values;
}

std::vector<torch::Tensor> Ranks::exchange(const torch::Tensor& all) const {
  if (!group_) return {all};
  torch::Tensor sent = all.to(group_->way(all.device())), got = torch::empty_like(sent);
  std::vector<int64_t> equal;
  together([&] { return group_->of(sent.device()).alltoall_base(got, sent, equal, equal, {})->wait(); });
  return got.to(all.device()).chunk(size_);
}

torch::Tensor Ranks::gather(const torch::Tensor& own) const {
  if (!group_) return own;
  torch::Tensor sent = own.to(group_->way(own.device())).contiguous();
  torch::Tensor got = torch::empty({own.numel() * size_}, sent.options());
  together([&] { return group_->of(sent.device())._allgather_base(got, sent, {})->wait(); });
  return got.to(own.device());
}

}  // namespace dvlm
