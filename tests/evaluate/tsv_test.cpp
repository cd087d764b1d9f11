// Data files read as pandas reads them (tools/fixtures/make_eval_fixtures.py).
#include "evaluate/tsv.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "message_of.h"
#include "temporary_folder.h"

namespace dvlm {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

TEST(Tsv, ReadsWhatPandasReads) {
  const fs::path folder = DVLM_FIXTURES "/evaluate";
  const auto tables = nlohmann::json::parse(read_file(folder / "tables.json"));
  EXPECT_EQ(tables.size(), 27u);
  for (const auto& [name, table] : tables.items()) {
    const TsvFile file(folder / name);
    ASSERT_EQ(file.size(), static_cast<int64_t>(table["rows"].size())) << name;
    for (int64_t i = 0; i < file.size(); ++i) {
      const TsvRow row = file.row(i);
      for (size_t c = 0; c < table["columns"].size(); ++c) {
        const std::string column = table["columns"][c];
        const auto& cell = table["rows"][static_cast<size_t>(i)][c];
        const std::optional<std::string> expected =
            cell.is_null() ? std::nullopt : std::optional<std::string>(cell);
        EXPECT_EQ(row.find(column), expected) << name << " row " << i << " column " << column;
      }
    }
  }
}

}  // namespace
}  // namespace dvlm
