// Processes that are threads here, and what their cards send one another.
#include "train/ranks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <exception>
#include <thread>
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "message_of.h"
#include "torch/device.h"
#include "torch_device.h"
#include "train/run_setup.h"

namespace dvlm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using torch::Tensor;

constexpr int kSize = 2;

// What each of them does, at once; returns what each threw, empty for nothing.
template <class Part>
std::array<std::string, kSize> as_processes(const Part& part) {
  const auto store = c10::make_intrusive<c10d::HashStore>();
  std::array<std::string, kSize> problems;
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kSize; ++rank)
    threads.emplace_back([&, rank] {
      try {
        part(Ranks(rank, kSize, store));
      } catch (const std::exception& error) {
        problems[static_cast<size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  return problems;
}

// In NCCL's place: takes tensors of a card alone, and connects when there are some.
class CardBackend : public c10d::Backend {
 public:
  CardBackend(c10::intrusive_ptr<c10d::Store> store, int rank, int size, bool garbled)
      : Backend(rank, size), store_(std::move(store)), garbled_(garbled) {}
  const std::string getBackendName() const override { return "cards"; }
  c10::intrusive_ptr<c10d::Work> alltoall_base(Tensor& got, Tensor& sent, std::vector<int64_t>& got_sizes,
                                               std::vector<int64_t>& sent_sizes,
                                               const c10d::AllToAllOptions& options) override {
    return move(got, sent, [&](Tensor& to, Tensor& from) {
      return gloo_->alltoall_base(to, from, got_sizes, sent_sizes, options);
    });
  }
  c10::intrusive_ptr<c10d::Work> _allgather_base(Tensor& got, Tensor& sent,
                                                 const c10d::AllgatherOptions& options) override {
    return move(got, sent,
                [&](Tensor& to, Tensor& from) { return gloo_->_allgather_base(to, from, options); });
  }
  void abort() override { ++aborted; }
  void shutdown() override { ++shut_down; }
  int calls = 0, aborted = 0, shut_down = 0;

 private:
  template <class Call>
  c10::intrusive_ptr<c10d::Work> move(Tensor& got, const Tensor& sent, const Call& call) {
    EXPECT_TRUE(got.is_cuda() && sent.is_cuda());
    if (!gloo_) {
      const auto options = c10d::ProcessGroupGloo::Options::create(std::chrono::minutes(1));
      options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
      gloo_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store_, getRank(), getSize(), options);
    }
    ++calls;
    Tensor from = sent.cpu(), to = torch::empty_like(got, got.options().device(torch::kCPU));
    auto work = call(to, from);
    work->wait();
    if (!garbled_) got.copy_(to);
    return work;
  }
  c10::intrusive_ptr<c10d::Store> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> gloo_;
  bool garbled_;
};

torch::Device card() {
  return open_device(test::on_card() ? test::torch_device().str() : "cuda");
}

TEST(RanksOnCards, send_from_card_to_card_what_is_there_and_the_rest_as_before) {
  std::array<c10::intrusive_ptr<CardBackend>, kSize> backends;
  const auto problems = as_processes([&](const Ranks& ranks) {
    c10::intrusive_ptr<CardBackend>& cards = backends[static_cast<size_t>(ranks.rank())];
    ranks.connect_cards(
        [&](const auto& store, int rank, int size) {
          return cards = c10::make_intrusive<CardBackend>(store, rank, size, false);
        },
        card());
    const int before = cards->calls;  // of the trial
    for (const torch::Device device : {card(), torch::Device(torch::kCPU)}) {
      const Tensor all = torch::arange(6, torch::kFloat32) + 10 * ranks.rank();
      const std::vector<Tensor> parts = ranks.exchange(all.to(device));
      ASSERT_EQ(parts.size(), 2u);
      EXPECT_EQ(parts[0].device(), device);
      const Tensor own = torch::arange(3, torch::kFloat32) + 3 * ranks.rank();
      EXPECT_TRUE(torch::equal(parts[0].cpu(), own));
      EXPECT_TRUE(torch::equal(parts[1].cpu(), own + 10));
      const Tensor gathered = ranks.gather(all.to(device));
      EXPECT_EQ(gathered.device(), device);
      EXPECT_TRUE(torch::equal(gathered.cpu(), torch::cat({torch::arange(6, torch::kFloat32),
                                                           torch::arange(6, torch::kFloat32) + 10})));
    }
    EXPECT_EQ(cards->calls, before + 2);
    EXPECT_EQ(ranks.sum({1, ranks.rank()}), (std::vector<int64_t>{2, 1}));
  });
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
  for (const auto& cards : backends) {
    EXPECT_EQ(cards->shut_down, 1);
    EXPECT_EQ(cards->aborted, 0);
  }
}

TEST(RanksOnCards, that_one_cannot_open_is_said_by_all) {
  const auto problems = as_processes([](const Ranks& ranks) {
    ranks.connect_cards(
        [](const auto& store, int rank, int size) -> c10::intrusive_ptr<c10d::Backend> {
          if (rank == 1) throw std::runtime_error("no link\nat all\nException raised from here");
          return c10::make_intrusive<CardBackend>(store, rank, size, false);
        },
        card());
  });
  for (const std::string& problem : problems)
    EXPECT_THAT(problem, AllOf(HasSubstr("1 of 2 processes"), HasSubstr("\"ddp_backend\": \"gloo\"")));
  EXPECT_THAT(problems[1], HasSubstr("no link at all;"));
}

TEST(RanksOnCards, that_send_nothing_are_noticed_before_anything_is_learnt) {
  std::array<c10::intrusive_ptr<CardBackend>, kSize> backends;
  const auto problems = as_processes([&](const Ranks& ranks) {
    ranks.connect_cards(
        [&](const auto& store, int rank, int size) {
          return backends[static_cast<size_t>(rank)] =
                     c10::make_intrusive<CardBackend>(store, rank, size, true);
        },
        card());
  });
  for (const std::string& problem : problems) EXPECT_THAT(problem, HasSubstr("did not arrive"));
  for (const auto& cards : backends) EXPECT_EQ(cards->aborted, 1);
}

// No plugin stands beside a test.
TEST(RanksOnCards, without_nccls_plugin_do_without_it_unless_it_was_asked_for) {
  const auto problems_of = [](const char* backend, bool first_on_cpu) {
    return as_processes([=](const Ranks& ranks) {
      TrainConfig config;
      config.ddp_backend = backend;
      const bool on_cpu = first_on_cpu && ranks.first();
      connect_cards(config, ranks, on_cpu ? torch::Device(torch::kCPU) : card());
      EXPECT_TRUE(torch::equal(ranks.gather(torch::full({1}, ranks.rank(), torch::kInt64)), torch::arange(2)))
          << "all are at the same call";
    });
  };
  for (const char* backend : {"auto", "gloo"})
    for (const bool first_on_cpu : {false, true})
      for (const std::string& problem : problems_of(backend, first_on_cpu)) EXPECT_EQ(problem, "");
  for (const std::string& problem : problems_of("nccl", true))
    EXPECT_THAT(problem, AllOf(HasSubstr("of 2 processes 1 have no card"), HasSubstr("2 no plugin")));
}

TEST(RanksOnCards, without_a_backend_tensors_pass_through_the_host) {
  const auto problems = as_processes([](const Ranks& ranks) {
    const Tensor gathered = ranks.gather(torch::full({1}, ranks.rank(), torch::kInt64).to(card()));
    EXPECT_TRUE(gathered.is_cuda());
    EXPECT_TRUE(torch::equal(gathered.cpu(), torch::arange(2)));
  });
  for (const std::string& problem : problems) EXPECT_EQ(problem, "");
}

}  // namespace
}  // namespace dvlm
