// Data files from anywhere, packed ones and tars among them: records lie in the file and are found again in
// the same order, the elements of an array are those that the JSON library finds, and no conversation names a
// picture that its tar does not hold.
#include "data/record_file.h"

#include <algorithm>

#include "core/data_url.h"
#include "fuzzing.h"

namespace {

using namespace dvlm;

void check_elements(const RecordFile& records, const nlohmann::json& array) {
  DVLM_ASSERT(records.size() == std::ssize(array));
  for (int64_t i = 0; i < records.size(); ++i)
    DVLM_ASSERT(nlohmann::json::parse(records.text(i)) == array[static_cast<size_t>(i)]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz::text_of(data, size);
  const fuzz::MemoryFile file(text);
  fuzz::accepts([&] {
    const RecordFile records(file.path());
    DVLM_ASSERT(records.size() > 0 && records.fingerprint() == RecordFile(file.path()).fingerprint());
    const nlohmann::json whole = nlohmann::json::parse(text, nullptr, false);
    if (whole.is_array()) check_elements(records, whole);
    for (int64_t i = 0; i < std::min<int64_t>(records.size(), 4); ++i)
      fuzz::accepts([&] {
        const Conversation conversation = records.conversation(i, records.object(i));
        const bool in_tar = records.name(i).find(" sample ") != std::string::npos;
        for (const Message& message : conversation)
          for (const ContentPart& part : message.content)
            DVLM_ASSERT(!in_tar || part.type != ContentPart::Type::image || is_data_url(part.source));
      });
  });
  return 0;
}
