#include "native/packed_file.h"

#include <gtest/gtest.h>

#include <csignal>

#include "core/error.h"
#include "core/interrupt.h"
#include "native/native.h"
#include "random_model.h"
#include "rows.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;

std::vector<float> draft_and_exact_logits(Model& model) {
  const auto sequence = model.new_sequence(20);
  const std::vector<TokenId> tokens = {1, 2, 3, 4, 5};
  const std::vector<Position> positions = {{0, 0, 0}, {1, 1, 1}, {2, 2, 2}, {3, 3, 3}, {4, 4, 4}};
  const std::vector<Wanted> rows = {{.row = 0, .choice = Choice::logits},
                                    {.row = 4, .choice = Choice::logits}};
  std::vector<float> out;
  for (const bool approximate : {false, true}) {
    const Segment segment{.sequence = sequence.get(),
                          .tokens = tokens,
                          .positions = positions,
                          .features = {},
                          .approximate = approximate,
                          .wanted = rows};
    const auto values = logits_of(model.forward({&segment, 1}));
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

class PackedFiles : public testing::Test {
 protected:
  std::vector<float> load(const fs::path& packed, DraftPrecision draft = DraftPrecision::int4) {
    const auto model =
        load_native(Checkpoint(folder_.path()), {.threads = 2, .draft = draft, .packed_file = packed});
    return draft_and_exact_logits(*model);
  }

  ThreadPool pool_{2};
  TemporaryFolder folder_, out_;
  fs::path made_ = make_random_model(small_config(), 1, folder_.path(), DType::bf16);
};

TEST_F(PackedFiles, give_the_model_that_wrote_them) {
  for (const DraftPrecision draft : {DraftPrecision::same, DraftPrecision::int8, DraftPrecision::int4}) {
    const fs::path file = out_ / fmt::format("{}.packed", static_cast<int>(draft));
    const std::vector<float> without = load({}, draft);
    EXPECT_EQ(load(file, draft), without);
    const auto written = fs::last_write_time(file);
    EXPECT_EQ(load(file, draft), without);
    EXPECT_EQ(fs::last_write_time(file), written) << "it was read, not written again";
  }
}

TEST_F(PackedFiles, are_written_anew_for_other_weights_and_other_options) {
  const fs::path file = out_ / "a.packed";
  load(file);
  const auto changed = [&](const auto& change) {
    const std::string before = read_file(file);
    change();
    return read_file(file) != before;
  };
  EXPECT_FALSE(changed([&] { load(file); }));
  EXPECT_TRUE(changed([&] { load(file, DraftPrecision::int8); }));
  make_random_model(small_config(), 2, folder_.path(), DType::bf16);
  fs::last_write_time(folder_ / "model.safetensors",
                      fs::file_time_type::clock::now() + std::chrono::hours(1));
  std::vector<float> got;
  EXPECT_TRUE(changed([&] { got = load(file, DraftPrecision::int8); }));
  EXPECT_EQ(got, load({}, DraftPrecision::int8));
}

TEST_F(PackedFiles, cut_short_or_damaged_cost_time_and_nothing_else) {
  const fs::path file = out_ / "a.packed";
  const std::vector<float> expected = load(file);
  const std::string whole = read_file(file);
  const auto check = [&](const std::string& damaged, size_t at) {
    write_file(file, damaged);
    EXPECT_EQ(load(file), expected) << "byte " << at;
    EXPECT_EQ(read_file(file), whole) << "byte " << at;
  };
  for (const size_t size :
       {whole.size() - 1, whole.size() - 39, whole.size() - 41, whole.size() / 2, size_t{4096}, size_t{64}})
    check(whole.substr(0, size), size);
  const size_t index = whole.rfind("\"matrices\"");
  ASSERT_NE(index, std::string::npos);
  for (size_t at = index; at < whole.size(); at += 41) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    check(damaged, at);
  }
  // One bit of the weights themselves, where a page begins: what fills its end decides nothing.
  for (size_t page = 1; page < index / 4096; page += index / 4096 / 7) {
    const size_t at = page * 4096;
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x40);
    check(damaged, at);
  }
}

TEST_F(PackedFiles, shortened_while_they_are_read_say_so) {
  const fs::path file = out_ / "a.packed";
  load(file, DraftPrecision::same);
  const std::string identity =
      fmt::format("{}weights {}, drafts {}", Checkpoint(folder_.path()).identity(),
                  static_cast<int>(WeightFormat::bf16_panels), static_cast<int>(DraftPrecision::same));
  PackedFile packed(file, identity);
  LoadProgress progress(0);
  ASSERT_TRUE(packed.complete());
  const TextConfig text = small_config().text;
  PackedMatrix head(text.vocab_size, text.hidden_size, WeightFormat::bf16_panels, false);
  EXPECT_TRUE(packed.read("lm_head.weight", head));
  EXPECT_TRUE(packed.finish(pool_, progress));
  EXPECT_TRUE(packed.read("lm_head.weight", head));
  fs::resize_file(file, 64);
  EXPECT_FALSE(packed.finish(pool_, progress));
}

TEST_F(PackedFiles, stay_as_they_were_after_ctrl_c) {
  install_interrupt_handler();
  const auto interrupted_load = [&](const fs::path& file) {
    std::raise(SIGINT);
    EXPECT_THROW(load(file), Error) << file;
    clear_interrupt();
  };
  interrupted_load({});
  interrupted_load(out_ / "a.packed");
  EXPECT_TRUE(fs::is_empty(out_.path()));
  const std::vector<float> expected = load(out_ / "a.packed");
  const std::string whole = read_file(out_ / "a.packed");
  interrupted_load(out_ / "a.packed");
  EXPECT_EQ(read_file(out_ / "a.packed"), whole);
  EXPECT_EQ(load(out_ / "a.packed"), expected);
}

TEST_F(PackedFiles, replace_nothing_else) {
  write_file(out_ / "letter.txt", "Dear reader");
  EXPECT_THROW(load(out_ / "letter.txt"), Error);
  EXPECT_EQ(read_file(out_ / "letter.txt"), "Dear reader");
  EXPECT_THROW(load(out_.path()), Error) << "a folder";
  EXPECT_EQ(load(out_ / "none" / "a.packed"), load({})) << "a warning";
}

}  // namespace
}  // namespace dvlm
